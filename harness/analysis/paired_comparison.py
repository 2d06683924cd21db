"""Tests whether two systems differ by more than chance, for `reportcard compare A B`.

It reads score files alone, so whatever is on a leaderboard can be compared: models, baselines and
reports from a file.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from reportcard.analysis.difference_doubts import difference_doubts
from reportcard.api import Direction, Json, ReportCardError
from reportcard.core.files import read_json
from reportcard.core.layout import Results, RunId, ScoreFolder, VersionedName
from reportcard.core.registry import did_you_mean
from reportcard.publish.board.boards import Board
from reportcard.publish.board.comparison import NotComparableError, Samplers
from reportcard.publish.board.verdicts import systems_to_test
from reportcard.score.rows_file import load_rows
from reportcard.score.score_file import IntervalStats, ScoreFile
from reportcard.score.scorer import Scorer, sample_doubts
from reportcard.score.stats.effect_size import Effect, effects
from reportcard.score.stats.paired_difference import Difference, compare, in_common
from reportcard.score.stats.pairwise import TRIALS, PairTest
from reportcard.score.stats.pilot import Pilot, pilots
from reportcard.score.stats.resampling import Resampler


@dataclass(frozen=True, slots=True)
class KeyComparison:
    """The paired comparison of two systems on one key, over the studies that both have scored.

    `unscored` counts the studies that one or both have no score for. `verdict` is the test of the
    two in their board's family of comparisons (score/stats/family.py), which every other view
    shows; None for two that no board compares, such as a ceiling. `pilot` is what these studies
    say of how many a test needs. `doubt` says why the interval of the difference is unreliable.
    """

    key: str
    direction: Direction
    difference: Difference
    effect: Effect
    pilot: Pilot
    verdict: PairTest | None = None
    unscored: int = 0
    caveat: str | None = None
    doubt: str | None = None

    @property
    def p_holm(self) -> float | None:
        """p after Holm's correction over the family; None without a verdict."""
        return self.verdict.p_holm if self.verdict else None

    @property
    def significant(self) -> bool | None:
        """Whether the two are told apart; None without a verdict."""
        return self.verdict.told_apart if self.verdict else None

    @property
    def studies_needed(self) -> int | None:
        """The studies for 80 % power, as far as these studies say, this key alone."""
        return self.pilot.needed() if self.difference.value else None

    def to_json(self) -> Json:
        """Return what `compare --json` writes of the key."""
        return {
            "key": self.key,
            "direction": self.direction,
            **asdict(self.difference),
            "p_holm": self.p_holm,
            "effect": self.effect.size,
            "effect_of": self.effect.kind,
            "family": self.verdict.family if self.verdict else None,
            "told_apart": self.significant,
            "studies_needed": self.studies_needed,
            "studies_needed_interval": self.pilot.interval() if self.difference.value else None,
            "unscored": self.unscored,
            **({"caveat": self.caveat} if self.caveat else {}),
            **({"doubt": self.doubt} if self.doubt else {}),
        }


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two systems on one cohort, key by key. `left_out`: keys without a comparison, and why."""

    keys: tuple[KeyComparison, ...]
    left_out: Mapping[str, str]


def run_folders(
    results_dir: Path, protocol: str, cohorts: Collection[str]
) -> dict[tuple[str, str], Path]:
    """Return (cohort folder, label) → score folder of every current run under the protocol.

    cohorts: names to look at; empty: all.
    """
    results = Results(results_dir)
    listed = [RunId.of_json(entry) for entry in read_json(results.current).get("runs", [])]
    found = {}
    for run in listed:
        cohort, label, name = run.labels
        if name == protocol and (not cohorts or cohort in cohorts):
            found[run.cohort, label] = results.scores(run)
    return found


def check_label(label: str, known: Sequence[str], where: str) -> None:
    """Raise ReportCardError, with the labels that there are, unless the label is known."""
    if label not in known:
        raise ReportCardError(
            f"No row '{label}' in {where}."
            f"{did_you_mean(label, known)} Rows: {', '.join(known) or 'none'}."
            " (reportcard run makes them)"
        )


def runs_of(
    results_dir: Path, labels: tuple[str, str], protocol: str, cohorts: Collection[str]
) -> list[tuple[str, tuple[Path, Path]]]:
    """Find the cohorts on which both systems were scored, each with the two score folders.

    Args:
        results_dir: where the scores are.
        labels: the two systems.
        protocol: the protocol that they were scored under.
        cohorts: names to look at; empty: all.

    Raises ReportCardError, with the labels that there are, when a label was not scored or the two
    share no cohort.
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
    pair: tuple[Path, Path],
    scorers: Sequence[Scorer],
    only: str | None,
    trials: int = TRIALS,
    board: Board | None = None,
) -> PairedComparison:
    """Compare two runs: a paired bootstrap interval and an approximate randomisation test per key.

    A key that cannot be compared is left out with its reason; with `only` that is an error.

    Args:
        pair: the score folders of the two runs.
        scorers: the metrics.
        only: one key (`bleu.bleu_4`) or one metric (`bleu`); None: the headline keys.
        trials: the number of randomisations.
        board: the board with both, whose family of comparisons gives p and the verdicts; None: p
            is of the two alone, and there is no verdict.

    Raises ReportCardError also when no key has that name, when a score is missing or was made by
    another version of the metric, or when the two hold different studies.
    """
    if trials < 1:
        raise ReportCardError(f"--trials must be at least 1, not {trials}.")
    found: list[KeyComparison] = []
    left_out: dict[str, str] = {}
    for scorer, names in keys_of(scorers, only):
        spec = scorer.metric.spec
        if spec.boxes and not any((folder / scorer.label).is_dir() for folder in pair):
            left_out[scorer.label] = "no boxes in the references"
            continue
        first, second = (saved_scores(folder / scorer.label, scorer) for folder in pair)
        if reason := _incomparable(pair, (first, second)):
            left_out[scorer.label] = reason
            continue
        verdicts = _verdicts(pair, board, scorer, list(names), trials) if board else {}
        alone = 1 if set(verdicts) == set(names) else trials  # p comes from the verdicts
        tests, sizes, plans, studies, doubts = _test(pair, scorer, first.recipe, alone)
        for name, key in names.items():
            test, direction = tests[key], spec.keys[key].direction
            verdict = verdicts.get(name)
            test = replace(test, p=verdict.p) if verdict else test
            if math.isnan(test.value):
                left_out[name] = _undefined(pair, test)
                continue
            unscored = studies - test.n
            found.append(
                KeyComparison(
                    name,
                    direction,
                    test,
                    sizes[key],
                    plans[key],
                    verdict,
                    unscored,
                    scorer.caveat,
                    doubts.get(key),
                )
            )
    if not found and left_out:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ReportCardError(f"Nothing to compare. {reasons}.")
    if not found:
        raise ReportCardError("No metric was run on both.")
    return PairedComparison(tuple(found), left_out)


def _verdicts(
    pair: tuple[Path, Path], board: Board, scorer: Scorer, keys: Sequence[str], trials: int
) -> dict[str, PairTest]:
    """Return the board's tests of two systems per key; a key that it does not test is left out."""
    systems = [folder.parent.name for folder in pair]
    columns = [column for column in board.columns if column.key in keys]
    if not columns:
        return {}
    try:
        tested = systems_to_test(pair[0].parents[3], board, columns, trials)
        if not set(systems) <= {entry.model for entry in tested.entries}:
            return {}
        tests = tested.run([scorer], Samplers()).tests
    except NotComparableError:
        return {}
    found = {}
    for key, each in tests.items():
        for test in each:
            if {test.a, test.b} == set(systems):
                found[key] = test if test.a == systems[0] else test.turned(*systems)
    return found


def keys_of(scorers: Sequence[Scorer], only: str | None) -> list[tuple[Scorer, dict[str, str]]]:
    """Return the metrics and keys that --metric chooses, keys as {`metric.key`: key}.

    It chooses one key, the headline keys of one metric, or those of all. Raises ReportCardError
    when nothing has that name.
    """
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


def _incomparable(pair: tuple[Path, Path], files: tuple[ScoreFile, ScoreFile]) -> str | None:
    """Return why two score files cannot be compared at all, or None."""
    for file in files:
        if file.not_run is not None:
            return f"not run: {file.not_run}"
    first, second = (file.read_by for file in files)
    if first == second:
        return None
    return (
        f"{pair[0].parent.name} was read by {_readers(first)}, {pair[1].parent.name} by"
        f" {_readers(second)}; run reportcard score for both"
    )


def _undefined(pair: tuple[Path, Path], test: Difference) -> str:
    """Say which system has no value over the studies that both have."""
    if not test.n:
        return "no study is scored for both"
    labels = [VersionedName.parse(folder.parent.name).label for folder in pair]
    without = [x for x, value in zip(labels, (test.a, test.b), strict=True) if math.isnan(value)]
    return f"undefined for {' and '.join(without)}: nothing to count in {test.n} common studies"


def _readers(found: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {version[:60]}" for name, version in found) or "nobody"


def saved_scores(folder: Path, scorer: Scorer) -> ScoreFile:
    """Read the scores in a metric's folder.

    Raises ReportCardError when there are none or another version of the metric made them.
    """
    path = ScoreFolder(folder).scores
    if not path.is_file():
        raise ReportCardError(f"No {scorer.label} scores in {folder.parent}. Run: reportcard score")
    saved = ScoreFile.read(path)
    if saved.metric_fingerprint != scorer.fingerprint:
        raise ReportCardError(
            f"{folder} was scored by another version of {scorer.label}. Run: reportcard score"
        )
    return saved


def _test(
    pair: tuple[Path, Path], scorer: Scorer, stats: IntervalStats, trials: int
) -> tuple[dict[str, Difference], dict[str, Effect], dict[str, Pilot], int, Mapping[str, str]]:
    """Return the comparison, effect size and pilot per key, the number of studies, and doubts."""
    folders = [folder / scorer.label for folder in pair]
    (ids_a, a, clusters), (ids_b, b, _) = (load_rows(folder) for folder in folders)
    if ids_a != ids_b:
        raise ReportCardError(f"{folders[0]} and {folders[1]} hold different studies.")
    resampler = Resampler(len(ids_a), stats.resamples, stats.seed, clusters)
    ours, theirs, n = in_common(a, b)
    scores = scorer.scores_of_sample(ours)
    tests = compare(a, b, scores, resampler, trials, stats.confidence)
    plans = pilots(ours, theirs, scores, resampler, n, sample_doubts(scorer.metric, ours))
    doubts = difference_doubts(scorer.metric, a, b, tests)
    return tests, effects(a, b, scores, tests), plans, len(ids_a), doubts
