"""Count how many of RadFact's questions on Open-I repeat another question, without a judge.

Each sentence counts as one phrase; a judge would split some sentences further, so the counts are
not exact. Candidates come from no model: they are the reference of another study, or one
report for all. A question is a (set of premises, hypothesis); RadFact asks one per phrase and
direction.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

from benchmarks.data import texts
from reportcard.metrics.annotators.radfact import questions_of


def sentences(report: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"(?<=[.!?])\s+", report.strip()) if part)


def line(what: str, wanted: int, asked: int) -> None:
    print(f"{what:20s} {wanted:8,d} {asked:8,d} {1 - asked / wanted:8.1%}")


def count(candidates: Sequence[str], references: Sequence[str]) -> tuple[list[str], list[object]]:
    """Return the reports to split and the questions to ask, including those that repeat."""
    asked: list[object] = []
    for candidate, reference in zip(candidates, references, strict=True):
        asked += questions_of(sentences(candidate), sentences(reference))
    return [*candidates, *references], asked


def main() -> None:
    references = texts()
    shuffled = random.Random(0).sample(references, len(references))
    (frequent, times), *_ = Counter(references).most_common(1)
    systems = {
        "another study's report": shuffled,
        f"one report for all (it occurs {times} times)": [frequent] * len(references),
    }
    every = [sentence for report in references for sentence in sentences(report)]
    print(f"{len(references):,} reports of openi_findings, {len(every):,} sentences")
    print(f"{'':20s} {'wanted':>8s} {'asked':>8s} {'saved':>8s}")
    line("sentences", len(every), len(set(every)))
    all_reports: list[str] = []
    all_asked: list[object] = []
    for name, candidates in systems.items():
        reports, asked = count(candidates, references)
        print(name)
        line("  reports to split", len(reports), len(set(reports)))
        line("  phrases to verify", len(asked), len(set(asked)))
        all_reports += reports
        all_asked += asked
    print("both systems")
    line("  reports to split", len(all_reports), len(set(all_reports)))
    line("  phrases to verify", len(all_asked), len(set(all_asked)))


if __name__ == "__main__":
    main()
