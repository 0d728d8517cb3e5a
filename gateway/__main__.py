"""`python -m gateway`: the gateway's commands without the rest of the command line."""

from __future__ import annotations

import sys

from gateway.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "python -m gateway"))
