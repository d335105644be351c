"""The `vitascope` command as a process of its own; `python -m vitascope` is the same."""

import gc
import sys

from vitascope.cli import main


def run() -> None:
    """Do what the command line says, and end the process with its exit code."""
    code = main()
    gc.freeze()  # else Python looks for garbage once more before it ends: a third of a second, once PyTorch is there
    sys.exit(code)


if __name__ == "__main__":
    run()
