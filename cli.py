"""Run the command line of a clone: ``python cli.py`` is the script ``nnmass`` of an installation."""

import sys

from nnmass.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
