"""Measure `evaluate` on up to 200,000 pairs. Targets: under 2 GiB, and time linear in n."""

from __future__ import annotations

import subprocess
import sys

SIZES = (25_000, 50_000, 100_000, 200_000)
# Each size has its own process, so that its peak memory is its own.
CODE = """
import resource, sys, time
from benchmarks.data import rows
from reportcard import evaluate
pairs = rows(int(sys.argv[1]))
evaluate(pairs[:50])
began = time.perf_counter()
evaluate(pairs)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(time.perf_counter() - began, peak)
"""


def main() -> None:
    print("      pairs   seconds   µs/pair   peak GiB (the pairs themselves included)")
    for n in SIZES:
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(n)], capture_output=True, text=True, check=True
        )
        seconds, peak = (float(word) for word in done.stdout.split())
        print(f"{n:11,} {seconds:9.1f} {1e6 * seconds / n:9.0f} {peak:10.2f}", flush=True)


if __name__ == "__main__":
    main()
