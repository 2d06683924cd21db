"""Compare chexpert_rules with the human MeSH tags of Open-I reports: precision, recall and F1.

    python -m benchmarks.validate_labeler [--root data/openi] [--json FILE]

Only studies with an even number ("dev") were used to tune the phrases; "held out" are the odd ones.
A label counts as predicted when it is positive, because MeSH tags say what the report asserts and
seldom what it leaves open. A second set of tables also counts uncertain labels as predicted.
mesh_to_chexpert.yaml maps tags to labels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import yaml

from reportcard.api import Array
from reportcard.data.sources.openi import OpenI
from reportcard.metrics._label_f1 import CLASSES, LABELS, counts, label_scores, present
from reportcard.metrics.annotators.chexpert_rules import CheXpertRules
from reportcard.score.stats.resampling import Estimate, Resampler, estimate

TABLE = Path(__file__).with_name("mesh_to_chexpert.yaml")
SECTIONS = {
    "findings+impression": ("findings", "impression"),
    "findings": ("findings",),
}
UNTAGGED = "no indexing"


def tag_rules() -> dict[str, list[frozenset[str]]]:
    """Return the rules of each label. A tag fits a rule when it has all parts of the rule."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["labels"]
    return {
        label: [frozenset(part.strip().lower() for part in rule.split(" + ")) for rule in rules]
        for label, rules in table.items()
    }


def labels_of(tags: Iterable[str], rules: Mapping[str, list[frozenset[str]]]) -> list[bool]:
    """Return the 14 labels of a study from its tags; No Finding is defined as in CheXpert."""
    parts = [frozenset(p.strip().lower() for p in tag.split("/")) for tag in tags]
    found = [any(rule <= tag for rule in rules[label] for tag in parts) for label in LABELS[:-1]]
    pathology = any(f for label, f in zip(LABELS, found, strict=False) if label != LABELS[12])
    return [*found, not pathology]


def is_tagged(tags: Iterable[str]) -> bool:
    return any(tag.strip().lower() != UNTAGGED for tag in tags)


def number(study_id: str) -> int:
    return int(study_id.removeprefix("CXR"))


def measure(candidate: Array, reference: Array) -> dict[str, Estimate]:
    rows = counts(candidate, reference)
    return estimate(rows[None], label_scores, Resampler(len(rows), 500, 0))


def table(title: str, found: Mapping[str, Estimate]) -> str:
    def cell(key: str) -> str:
        e = found[key]
        return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"

    lines = [
        f"\n### {title}\n",
        "| label | support | precision | recall | F1 |",
        "|---|---:|---|---|---|",
    ]
    for label, key in zip(LABELS, CLASSES, strict=True):
        cells = " | ".join(cell(f"{key}.{what}") for what in ("precision", "recall", "f1"))
        lines.append(f"| {label} | {found[f'{key}.support'].value:.0f} | {cells} |")
    for name in ("micro_f1_14", "macro_f1_14", "micro_f1_5", "macro_f1_5"):
        lines.append(f"| {name} | | | | {cell(name)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", default="data/openi", help="folder of the Open-I reports")
    parser.add_argument("--json", type=Path, help="also write every number here")
    args = parser.parse_args()

    source = OpenI(args.root)
    reports, tags = source.reports(), source.mesh_tags()
    ids = [study_id for study_id in reports if is_tagged(tags[study_id])]
    rules = tag_rules()
    reference = np.array([labels_of(tags[i], rules) for i in ids])
    odd = np.array([number(i) % 2 == 1 for i in ids])
    parts = {"all": np.ones_like(odd), "held out (odd numbers)": odd, "dev (even numbers)": ~odd}

    annotator = CheXpertRules()
    annotator.annotate([""])  # loads spaCy before the clock starts
    print(f"{annotator.id} {annotator.version}")
    print(f"{len(reports)} reports, {len(reports) - len(ids)} without tags left out")
    saved = {}
    for section, names in SECTIONS.items():
        texts = [reports[i].text(names) for i in ids]
        start = time.process_time()
        notes = annotator.annotate(texts)
        seconds = time.process_time() - start
        print(f"\n## {section}: {len(texts) / seconds:.0f} reports/s on one core")
        codes = np.array([note["labels"] for note in notes])
        for policy, words in (("neg", "positive"), ("pos", "positive or uncertain")):
            candidate = present(codes, policy)
            for part, chosen in parts.items():
                found = measure(candidate[chosen], reference[chosen])
                title = f"{section}, {part}, {words}: {chosen.sum()} reports"
                print(table(title, found))
                saved[title] = {k: [e.value, e.low, e.high] for k, e in found.items()}
    if args.json:
        args.json.write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
