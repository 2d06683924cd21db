"""Measure a second, identical `reportcard run`. Target: under 5 s, and nothing is done again."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "reportcard.cli.main",
            "run",
            "--fetch",
            f"results_dir={folder}",
        ]
        for name in ("first ", "second"):
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - began
            print(f"{name} run {seconds:6.1f} s   {done.stdout.strip().splitlines()[-1].strip()}")


if __name__ == "__main__":
    main()
