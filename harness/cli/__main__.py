"""Runs the command line with `python -m reportcard.cli`."""

from __future__ import annotations

import sys

from reportcard.cli.main import main

sys.exit(main())
