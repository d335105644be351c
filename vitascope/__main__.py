"""Entry point of the `vitascope` command and of `python -m vitascope`."""

import gc
import sys

from vitascope.cli import main


def run() -> None:
    """Run the command line and exit with its code."""
    code = main()
    gc.freeze()  # skips the last garbage collection, which takes a third of a second once PyTorch is loaded
    sys.exit(code)


if __name__ == "__main__":
    run()
