"""``python -m whichever`` is the ``whichever`` command."""

import sys

from whichever.cli import main

if __name__ == "__main__":
    sys.exit(main())
