"""The program's one entry point: the only place that catches errors and turns them into exit codes."""

import sys

from factory.cli import main

if __name__ == "__main__":
    sys.exit(main())
