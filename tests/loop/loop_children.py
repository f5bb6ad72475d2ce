"""Programs that tests of loops run in processes of their own; ``{factory}`` is what makes the loop."""

FACTORIES = {"asyncio": "asyncio.SelectorEventLoop", "whichever": "whichever.EventLoop"}
HEAD = "import asyncio, os, signal, sys, threading, time, whichever\n"


def program(kind, text):
    """Put the loop's factory into a program."""
    return HEAD + text.replace("FACTORY", FACTORIES[kind])
