"""Run every benchmark, or those named: `python -m benchmarks [lexical resampling …]`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

NAMES = [
    "lexical",
    "resampling",
    "ranks",
    "coverage",
    "skill",
    "power",
    "first_place",
    "scale",
    "score_at_scale",
    "rerun",
    "validate_labeler",
    "radfact",
    "judge",
    "decode",
    "mimic_index",
]
CLINICAL = ["chexbert", "radgraph", "bertscore", "radcliq"]  # minutes each, on random weights


def main() -> int:
    named = sys.argv[1:]
    if not named and importlib.util.find_spec("radgraph") is None:
        print(f"left out: {', '.join(CLINICAL)} (pip install 'cxr-reportcard[clinical]')")
    elif not named:
        NAMES.extend(CLINICAL)
    failed = 0
    for name in named or NAMES:
        print(f"\n== {name}", flush=True)
        # Each runs in its own process, with its own imports, memory and threads.
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        failed += subprocess.run(command, env=environment, check=False).returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
