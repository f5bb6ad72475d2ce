"""Measure one contender in a process of its own: ``_pool_child.py CONTENDER OUR_CLASS OUT QUICK GROUP...``.

Each figure is written to the file OUT as soon as it is there, one JSON object a line, so that a contender that
hangs keeps what it has shown. A figure that takes too long ends this process.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import warnings
from pathlib import Path

from _pool_contenders import CONTENDERS, Ours
from _pool_figures import GROUPS, Session

FIGURE_S = 20.0
HEAVY_FIGURE_S = 60.0


def nothing_here(item: int) -> None:
    """Do nothing, defined in the program itself."""


def closure():
    """Make a function that no module holds."""
    kept = "something from outside"
    return lambda item: (item, kept)[2:]


def main() -> None:
    name, our_class, out, quick, *groups = sys.argv[1:]
    contender = CONTENDERS[name]()
    if isinstance(contender, Ours):
        contender.spec = our_class
    # What a rival has to say about its own arguments is not part of the figures.
    warnings.simplefilter("ignore")
    session = Session(contender, quick=quick == "quick", places={"main": nothing_here, "closure": closure()})
    bound = HEAVY_FIGURE_S if contender.heavy else FIGURE_S
    with Path(out).open("a", encoding="utf-8") as file:
        for group in groups:
            faulthandler.dump_traceback_later(bound, exit=True)
            file.write(json.dumps({"group": group}) + "\n")
            file.flush()
            for figure in GROUPS[group](session):
                file.write(json.dumps(figure) + "\n")
                file.flush()
                faulthandler.dump_traceback_later(bound, exit=True)
        session.close()


if __name__ == "__main__":
    main()
