"""Run the command line as ``python -m nnmass.commands``."""

import sys

from nnmass.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
