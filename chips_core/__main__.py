"""Lets `python -m chips_core` stand for `chips`."""

import sys

from chips_core.cli import main

sys.exit(main())
