"""Every benchmark can be imported, and the two that need special hardware run in small."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))


def run_tiny(name: str) -> str:
    """Run a benchmark with --tiny in its own process and return what it printed."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--tiny"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    """Importing starts nothing and needs no extra: torch and Ray are imported where used."""
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.__doc__
    assert name == "data" or callable(module.main)


def test_make_bench_runs_every_benchmark_that_needs_no_special_hardware() -> None:
    from benchmarks.__main__ import CLINICAL
    from benchmarks.__main__ import NAMES as LISTED

    assert {*LISTED, *CLINICAL} == {*NAMES} - {"data", "gpu", "ray_engine"}


def test_gpu_runs_in_small() -> None:
    """On the CPU with a tiny model (`make test-clinical` installs torch)."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    lines = run_tiny("gpu").splitlines()
    assert sum("studies/s" in line for line in lines) == 4


def test_ray_engine_runs_in_small() -> None:
    """In `make test-engines`: it starts Ray several times."""
    pytest.importorskip("ray")
    printed = run_tiny("ray_engine")
    for part in ("replicas", "overhead", "saturation", "soak"):
        assert f"-- {part}" in printed
    assert "1,000 requests in" in printed


def test_coverage_flags_intervals_as_score_files_do() -> None:
    """An interval without width is flagged, and one of too few studies is flagged at any width."""
    from benchmarks.coverage import measure, rows_of
    from reportcard.config.settings import Plugin
    from reportcard.score.scorer import open_metrics

    (bleu,) = open_metrics([Plugin("bleu", "bleu")])
    same = [("the lungs are clear without effusion", "the heart is of normal size")] * 40
    mixed = [*same, *[(reference, reference) for _, reference in same]]

    def found(pairs: list[tuple[str, str]], n: int) -> dict[str, float | None]:
        rows = rows_of(bleu, pairs)
        return measure(bleu, rows, n, False, samples=5, resamples=50)["bca", "bleu_4"]

    assert found(same, 40)["flagged"] == 1
    assert found(same, 40)["unflagged_coverage"] is None
    assert found(mixed, 20)["flagged"] == 1
    enough = found(mixed, 40)
    assert (enough["flagged"], enough["unflagged_coverage"]) == (0, enough["coverage"])
