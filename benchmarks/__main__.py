"""Run every benchmark, or those named: `python -m benchmarks [lexical resampling …]`."""

from __future__ import annotations

import importlib
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

NAMES = ["lexical", "resampling", "scale", "rerun"]


def main() -> int:
    for name in sys.argv[1:] or NAMES:
        print(f"\n== {name}", flush=True)
        module = importlib.import_module(f"benchmarks.{name}")
        print((module.__doc__ or "").strip().split("\n")[0])
        module.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
