"""The command line: reads arguments, asks the advisor, prints. It measures and decides nothing itself.

Standard output carries the answer and nothing else; progress and errors go to standard error. Exit codes:
0 an answer was given, 1 none could be given, 2 the command line was wrong, 130 interrupted.
"""

from whichever.cli.main import main

__all__ = ["main"]
