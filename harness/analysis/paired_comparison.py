"""`reportcard compare A B`: is the difference between two rows of the tables more than chance?

Works on score files alone, so whatever has a row can be compared: models, baselines, replays.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from reportcard.api import Json, ReportCardError
from reportcard.core.files import read_json
from reportcard.core.registry import did_you_mean
from reportcard.score.rows_file import load_rows
from reportcard.score.scorer import Scorer
from reportcard.score.stats.effect_size import ALPHA, Effect, effects, studies_needed
from reportcard.score.stats.resampling import Difference, Resampler, compare, holm


@dataclass(frozen=True, slots=True)
class Row:
    """One key: the paired comparison (scores over the studies that both have), p adjusted.

    `unscored`: studies that one side or both have no score for.
    """

    key: str
    direction: str
    difference: Difference
    effect: Effect
    p_holm: float
    unscored: int = 0
    caveat: str | None = None

    @property
    def told_apart(self) -> bool:
        return self.p_holm < ALPHA

    @property
    def studies_needed(self) -> int | None:
        """For 80 % power at the observed difference and variance, this key alone."""
        return studies_needed(self.difference.value, self.difference.se, self.difference.n)

    def to_json(self) -> Json:
        return {
            "key": self.key,
            "direction": self.direction,
            **asdict(self.difference),
            "p_holm": self.p_holm,
            "effect": self.effect.size,
            "effect_of": self.effect.kind,
            "told_apart": self.told_apart,
            "studies_needed": self.studies_needed,
            "unscored": self.unscored,
            **({"caveat": self.caveat} if self.caveat else {}),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rows of one cohort, and the keys that could not be compared, with the reason."""

    rows: tuple[Row, ...]
    left_out: Mapping[str, str]


def run_folders(
    results_dir: Path, protocol: str, cohorts: Collection[str]
) -> dict[tuple[str, str], Path]:
    """(cohort folder, label) → score folder of every current run under the protocol.

    cohorts: names to look at; empty: all.
    """
    listed = read_json(results_dir / "current.json").get("runs", [])
    runs = [r for r in listed if r["protocol"] == protocol]
    return {
        (r["cohort"], r["model"].rpartition("@")[0]): results_dir
        / "scores" / r["cohort"] / r["model"] / protocol
        for r in runs
        if not cohorts or r["cohort"].rpartition("@")[0] in cohorts
    }  # fmt: skip


def check_label(label: str, known: Sequence[str], where: str) -> None:
    if label not in known:
        raise ReportCardError(
            f"No row '{label}' in {where}."
            f"{did_you_mean(label, known)} Rows: {', '.join(known) or 'none'}."
            " (reportcard run makes them)"
        )


def runs_of(
    results_dir: Path, labels: tuple[str, str], protocol: str, cohorts: Collection[str]
) -> list[tuple[str, tuple[Path, Path]]]:
    """(cohort folder, the two score folders) for each cohort on which both rows stand.

    cohorts: names to look at; empty: all. Raises ReportCardError, with the labels that there are,
    when a label has no row or the two share no cohort.
    """
    folders = run_folders(results_dir, protocol, cohorts)
    known = sorted({label for _, label in folders})
    for label in labels:
        check_label(label, known, f"{results_dir} under protocol {protocol}")
    if labels[0] == labels[1]:
        raise ReportCardError(f"'{labels[0]}' cannot be compared with itself.")
    names = list(dict.fromkeys(cohort for cohort, _ in folders))
    both = [n for n in names if all((n, label) in folders for label in labels)]
    if not both:
        raise ReportCardError(f"{labels[0]} and {labels[1]} share no cohort; run both on one.")
    return [(n, (folders[n, labels[0]], folders[n, labels[1]])) for n in both]


def compare_runs(
    pair: tuple[Path, Path], scorers: Sequence[Scorer], only: str | None, trials: int = 10_000
) -> Comparison:
    """Paired bootstrap interval and approximate randomisation per key; Holm over the keys shown.

    only: restrict the family to one key (`bleu.bleu_4`) or one metric (`bleu`); without it, the
    headline keys. A key that cannot be compared is left out with its reason; with `only` that is
    an error. Raises ReportCardError also when no key has that name, when a score is missing or was
    made by another version of the metric, or when the two hold different studies.
    """
    if trials < 1:
        raise ReportCardError(f"--trials must be at least 1, not {trials}.")
    found: list[Row] = []
    left_out: dict[str, str] = {}
    for scorer, names in keys_of(scorers, only):
        spec = scorer.metric.spec
        if spec.boxes and not any((folder / scorer.label).is_dir() for folder in pair):
            left_out[scorer.label] = "no boxes in the references"
            continue
        saved = [saved_scores(folder / scorer.label, scorer) for folder in pair]
        if reason := _incomparable(pair, saved):
            left_out[scorer.label] = reason
            continue
        tests, sizes, studies = _test(pair, scorer, saved[0]["stats"], trials)
        for name, key in names.items():
            test, direction = tests[key], spec.keys[key].direction
            if math.isnan(test.value):
                left_out[name] = _undefined(pair, test)
                continue
            about = (sizes[key], 1.0, studies - test.n, scorer.caveat)
            found.append(Row(name, direction, test, *about))
    if not found and left_out:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ReportCardError(f"Nothing to compare. {reasons}.")
    if not found:
        raise ReportCardError("No metric was run on both.")
    adjusted = holm([row.difference.p for row in found])
    rows = (replace(row, p_holm=p) for row, p in zip(found, adjusted, strict=True))
    return Comparison(tuple(rows), left_out)


def keys_of(scorers: Sequence[Scorer], only: str | None) -> list[tuple[Scorer, dict[str, str]]]:
    """Metrics with their keys, {`metric.key`: key}, as --metric chooses: one key, the headline keys
    of one metric, or those of all. Raises ReportCardError when nothing has that name."""
    found, every = [], []
    for scorer in scorers:
        spec = scorer.metric.spec
        names = {f"{scorer.label}.{key}": key for key in spec.keys}
        every += [scorer.label, *names]
        headline = spec.headline or spec.keys
        chosen = {
            name: key
            for name, key in names.items()
            if name == only or (only in (None, scorer.label) and key in headline)
        }
        if chosen:
            found.append((scorer, chosen))
    if not found:
        hint = did_you_mean(only or "", every)
        raise ReportCardError(f"No key '{only}'.{hint}" if only else "No metric is chosen.")
    return found


def _incomparable(pair: tuple[Path, Path], saved: Sequence[Json]) -> str | None:
    """Why two score files cannot be compared at all, or None."""
    for file in saved:
        if "not_run" in file:
            return f"not run: {file['not_run']}"
    readers = [file.get("read_by", []) for file in saved]
    if readers[0] == readers[1]:
        return None
    return (
        f"{pair[0].parent.name} was read by {_readers(readers[0])}, {pair[1].parent.name} by"
        f" {_readers(readers[1])}; run reportcard score for both"
    )


def _undefined(pair: tuple[Path, Path], test: Difference) -> str:
    """Which side has no value over the studies that both have."""
    if not test.n:
        return "no study is scored on both sides"
    labels = [folder.parent.name.rpartition("@")[0] for folder in pair]
    without = [x for x, value in zip(labels, (test.a, test.b), strict=True) if math.isnan(value)]
    return f"undefined for {' and '.join(without)}: nothing to count in {test.n} common studies"


def _readers(found: Sequence[Sequence[str]]) -> str:
    return ", ".join(f"{name} {version[:60]}" for name, version in found) or "nobody"


def saved_scores(folder: Path, scorer: Scorer) -> Json:
    """scores.json of a metric's folder, made by this version of the metric."""
    if not (folder / "scores.json").is_file():
        raise ReportCardError(f"No {scorer.label} scores in {folder.parent}. Run: reportcard score")
    saved = read_json(folder / "scores.json")
    if saved["metric_fingerprint"] != scorer.fingerprint:
        raise ReportCardError(
            f"{folder} was scored by another version of {scorer.label}. Run: reportcard score"
        )
    return saved


def _test(
    pair: tuple[Path, Path], scorer: Scorer, stats: Json, trials: int
) -> tuple[dict[str, Difference], dict[str, Effect], int]:
    """The comparison and the effect size per key, and the number of studies of the cohort."""
    folders = [folder / scorer.label for folder in pair]
    (ids_a, a, clusters), (ids_b, b, _) = (load_rows(folder) for folder in folders)
    if ids_a != ids_b:
        raise ReportCardError(f"{folders[0]} and {folders[1]} hold different studies.")
    resampler = Resampler(len(ids_a), stats["resamples"], stats["seed"], clusters)
    tests = compare(a, b, scorer.metric.scores, resampler, trials, stats["confidence"])
    return tests, effects(a, b, scorer.metric.scores, tests), len(ids_a)
