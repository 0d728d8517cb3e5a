"""`python -m training`: the training side's commands alone, for torchrun."""

import sys

from training.cli import main

sys.exit(main(sys.argv[1:], prog="python -m training"))
