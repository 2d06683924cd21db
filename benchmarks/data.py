"""Real pairs for the benchmarks: each Open-I report beside another one."""

from __future__ import annotations

import random
from pathlib import Path

from reportcard.config.settings import Plugin
from reportcard.core.download import fetch_openi
from reportcard.data.cohort import load_cohort

ROOT = Path("data/openi")


def texts() -> list[str]:
    """The 3,199 findings of openi_findings (fetched if need be)."""
    fetch_openi(ROOT, lambda text: None)
    cohort = load_cohort(Plugin("openi", "openi_findings", {"root": str(ROOT)}))
    return [study.reference.text() for study in cohort.test]


def rows(n: int, seed: int = 0) -> list[dict[str, str]]:
    """n rows for `evaluate`: (study_id, candidate, reference), both sides drawn with a seed."""
    rng, reports = random.Random(seed), texts()
    return [
        {"study_id": str(i), "candidate": rng.choice(reports), "reference": rng.choice(reports)}
        for i in range(n)
    ]
