"""The tests of asyncio and of uvloop that another loop need not pass, each with its reason.

A test belongs here only when it tests how a loop is built (a private name, a mock in place of one of the loop's own
parts), never because what it asks for is missing. `MOST` bounds the list.
"""

from __future__ import annotations

MOST = 80

NOT_OF_A_LOOP = {
    "test_proactor_events": "Windows' loop, on mocks",
    "test_selector_events": "the insides of asyncio's own selector loop, on mocks",
    "test_sourcecode": "uvloop's own source files",
    "test_testbase": "uvloop's own test helpers",
    "test_windows_events": "Windows",
    "test_windows_utils": "Windows",
}
"""Modules in which no test makes a loop by the public way."""

WHITE_BOX: dict[str, str] = {}
"""Tests by name, as ``module.class.method``."""
