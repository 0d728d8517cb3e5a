"""Write the chart's generated files, or check that they are current: `--check`."""

from __future__ import annotations

import argparse
import sys

from charts.monitoring.generate import COMMAND, generated, stale, write


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if stale")
    files = generated()
    if not parser.parse_args().check:
        write(files)
        return 0
    for path in (wrong := stale(files)):
        print(f"{path}: not current; run {COMMAND}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
