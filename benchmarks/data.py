"""Real pairs for the benchmarks: an Open-I report as candidate for another Open-I report."""

from __future__ import annotations

import random
from pathlib import Path

from reportcard.config.settings import Plugin
from reportcard.core.download import fetch_openi
from reportcard.data.cohort import load_cohort

ROOT = Path("data/openi")


def texts() -> list[str]:
    """Return the 3,199 findings of openi_findings, and fetch them if they are not there."""
    fetch_openi(ROOT, lambda text: None)
    cohort = load_cohort(Plugin("openi", "openi_findings", {"root": str(ROOT)}))
    return [study.reference.text() for study in cohort.test]


def rows(n: int, seed: int = 0) -> list[dict[str, str]]:
    """Return n records for `evaluate`; candidates and references are drawn with a seed."""
    rng, reports = random.Random(seed), texts()
    return [
        {"study_id": str(i), "candidate": rng.choice(reports), "reference": rng.choice(reports)}
        for i in range(n)
    ]
