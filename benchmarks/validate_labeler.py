"""Compare chexpert_rules with two sets that others labelled: precision, recall, F1 per label.

    python -m benchmarks.validate_labeler [--root data/openi] [--json FILE] [--only openi|radlabels]

openi      the MeSH tags that trained indexers gave every Open-I report. Tags → labels:
           mesh_to_chexpert.yaml. Phrases were tuned on studies with an even number alone ("dev");
           "held out" are the odd ones.
radlabels  1,000 synthetic chest reports of the PyPI wheel radlabels 0.2.0 (MIT, arXiv 2607.06597)
           with its labels of 49 findings. Findings → labels: radlabels_to_chexpert.yaml. Cues
           were looked for in disagreements of even numbers; the odd ones were not read.

A label is predicted when it is positive, and expected when the reference says present. A second set
of tables counts what either side calls uncertain as positive.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from reportcard.api import Array
from reportcard.core.download import open_wheel
from reportcard.data.sources.openi import OpenI
from reportcard.metrics._label_f1 import (
    BLANK,
    CLASSES,
    LABELS,
    NEGATIVE,
    POSITIVE,
    UNCERTAIN,
    counts,
    label_scores,
    present,
)
from reportcard.metrics.annotators.chexpert_rules import CheXpertRules
from reportcard.score.stats.resampling import Estimate, Resampler, estimate

HERE = Path(__file__).parent
UNKNOWN = -1  # the reference does not say: the study is left out of this label's row
RADLABELS = "radlabels==0.2.0"
SECTIONS = {
    "findings+impression": ("findings", "impression"),
    "findings": ("findings",),
}
UNTAGGED = "no indexing"
SUPPORT_DEVICES = LABELS.index("Support Devices")
Rules = Mapping[str, list[frozenset[str]]]


def tag_rules(name: str = "labels") -> dict[str, list[frozenset[str]]]:
    """Label → rules of one part of the tag table; a tag fits a rule when it has all of its parts.

    Under "labels", No Finding has the tags that rule it out beside those of the other labels.
    """
    table = yaml.safe_load((HERE / "mesh_to_chexpert.yaml").read_text(encoding="utf-8"))
    entries = dict(table[name])
    if name == "labels":
        entries["No Finding"] = table["other findings"]
    return {
        label: [frozenset(part.strip().lower() for part in rule.split(" + ")) for rule in rules]
        for label, rules in entries.items()
    }


def labels_of(tags: Iterable[str], rules: Rules, unknown: Rules | None = None) -> list[int]:
    """The 14 codes of a study by its human tags alone.

    A tag with the qualifier "borderline" is uncertain. No Finding: no tag that rules it out.
    """
    parts = [frozenset(p.strip().lower() for p in tag.split("/")) for tag in tags]
    codes = []
    for label in LABELS:
        open_rules = (unknown or {}).get(label, ())
        is_open = [any(rule <= tag for rule in open_rules) for tag in parts]
        fit = [
            tag
            for tag, left_open in zip(parts, is_open, strict=True)
            if not left_open and any(rule <= tag for rule in rules[label])
        ]
        if any("borderline" not in tag for tag in fit):
            codes.append(POSITIVE)
        elif any(is_open):
            codes.append(UNKNOWN)
        else:
            codes.append(UNCERTAIN if fit else BLANK)
    return with_no_finding(codes)


def with_no_finding(codes: list[int]) -> list[int]:
    """The codes with the last one, findings that rule out No Finding, turned into No Finding."""
    pathology = [c for i, c in enumerate(codes) if i != SUPPORT_DEVICES]
    return [*codes[:-1], BLANK if {POSITIVE, UNCERTAIN} & set(pathology) else POSITIVE]


def radlabels_codes(found: Mapping[str, str], table: Mapping[str, Any]) -> list[int]:
    """The 14 codes of a report by radlabels' findings ("definitely present", "uncertain", …)."""
    codes = []
    for label in LABELS:
        names = table["labels"].get(label) or table["other findings"]
        said = {found.get(name) for name in names}
        if "definitely present" in said:
            codes.append(POSITIVE)
        elif "uncertain" in said:
            codes.append(UNCERTAIN)
        else:
            codes.append(NEGATIVE if "definitely absent" in said else BLANK)
    return with_no_finding(codes)


def is_tagged(tags: Iterable[str]) -> bool:
    return any(tag.strip().lower() != UNTAGGED for tag in tags)


def number(study_id: str) -> int:
    return int(study_id.removeprefix("CXR"))


def measure(codes: Array, reference: Array, policy: str) -> dict[str, Estimate]:
    known = reference != UNKNOWN
    rows = counts(present(codes, policy) & known, present(reference, policy) & known)
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


def differences(codes: Array, reference: Array) -> str:
    """Where two labelings differ: per label, how often they say what of the same report."""
    said = {BLANK: "nothing", POSITIVE: "positive", NEGATIVE: "negative", UNCERTAIN: "uncertain"}
    kinds = [
        (theirs, ours) for theirs in said for ours in said
        if theirs != ours and POSITIVE in (theirs, ours)
    ]  # fmt: skip
    lines = [
        "\n### Where they differ: reports by (reference says → chexpert_rules says)\n",
        "| label | " + " | ".join(f"{said[a]} → {said[b]}" for a, b in kinds) + " |",
        "|---|" + "---:|" * len(kinds),
    ]
    for i, label in enumerate(LABELS):
        cells = [int(((reference[:, i] == a) & (codes[:, i] == b)).sum()) for a, b in kinds]
        lines.append(f"| {label} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def against_openi(annotator: CheXpertRules, root: str, saved: dict[str, Any]) -> None:
    source = OpenI(root)
    reports, tags = source.reports(), source.mesh_tags()
    ids = [study_id for study_id in reports if is_tagged(tags[study_id])]
    rules, unknown = tag_rules(), tag_rules("unknown")
    reference = np.array([labels_of(tags[i], rules, unknown) for i in ids])
    odd = np.array([number(i) % 2 == 1 for i in ids])
    parts = {"all": np.ones_like(odd), "held out (odd numbers)": odd, "dev (even numbers)": ~odd}
    print(f"{len(reports)} reports, {len(reports) - len(ids)} without tags left out")
    for section, names in SECTIONS.items():
        codes = labelled(annotator, section, [reports[i].text(names) for i in ids])
        for part, chosen in parts.items():
            show(f"{section}, {part}", codes[chosen], reference[chosen], saved)
        said_normal = np.array([[t.strip().lower() for t in tags[i]] == ["normal"] for i in ids])
        for part, chosen in parts.items():
            both = int((said_normal & (codes[:, -1] == POSITIVE))[chosen].sum())
            ours, theirs = (
                int((codes[chosen, -1] == POSITIVE).sum()),
                int(said_normal[chosen].sum()),
            )
            print(
                f"\nNo Finding against the tag 'normal' ({section}, {part}): {theirs} normal,"
                f" {ours} No Finding, {both} both, F1 {2 * both / (ours + theirs):.3f}"
            )


def against_radlabels(annotator: CheXpertRules, saved: dict[str, Any]) -> None:
    with open_wheel(RADLABELS) as archive:
        samples = "radlabels/samples/"
        found = json.loads(archive.read(samples + "synthetic_labels.json"))
        texts = [
            without_history(archive.read(f"{samples}synthetic_reports/{name}.txt").decode("utf-8"))
            for name in found
        ]
    mapping = yaml.safe_load((HERE / "radlabels_to_chexpert.yaml").read_text(encoding="utf-8"))
    reference = np.array([radlabels_codes(labels, mapping) for labels in found.values()])
    codes = labelled(annotator, RADLABELS, texts)
    show(RADLABELS, codes, reference, saved)
    print(differences(codes, reference))


_HISTORY = re.compile(
    r"(?ims)^[ \t]*(?:clinical |patient )?(?:indication|history|information|reason for exam\w*"
    r"|exam\w*"
    r"|technique|comparison)\b[^\n]*?:.*?(?=^\s*$|^[ \t]*[A-Z][A-Z ]{4,}:|\Z)"
)


def without_history(report: str) -> str:
    """The report without indication, history, technique and comparison, which radlabels skips."""
    return _HISTORY.sub("", report)


def labelled(annotator: CheXpertRules, name: str, texts: Sequence[str]) -> Array:
    start = time.process_time()
    notes = annotator.annotate(texts)
    seconds = time.process_time() - start
    print(f"\n## {name}: {len(texts) / seconds:.0f} reports/s on one core")
    return np.array([note["labels"] for note in notes if note])


def show(name: str, codes: Array, reference: Array, saved: dict[str, Any]) -> None:
    for policy, words in (("neg", "positive"), ("pos", "positive or uncertain")):
        found = measure(codes, reference, policy)
        title = f"{name}, {words}: {len(codes)} reports"
        print(table(title, found))
        saved[title] = {k: [e.value, e.low, e.high] for k, e in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", default="data/openi", help="folder of the Open-I reports")
    parser.add_argument("--json", type=Path, help="also write every number here")
    parser.add_argument("--only", choices=("openi", "radlabels"), help="one set alone")
    args = parser.parse_args()

    annotator = CheXpertRules()
    annotator.annotate([""])  # loading is not labeling
    print(f"{annotator.id} {annotator.version}")
    saved: dict[str, Any] = {}
    if args.only != "radlabels":
        against_openi(annotator, args.root, saved)
    if args.only != "openi":
        against_radlabels(annotator, saved)
    if args.json:
        args.json.write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
