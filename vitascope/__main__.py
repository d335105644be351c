"""`python -m vitascope` is the `vitascope` command."""

import sys

from vitascope.cli import main

if __name__ == "__main__":
    sys.exit(main())
