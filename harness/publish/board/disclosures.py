"""Collects the facts that the leaderboard shows next to a run's scores.

They are its provenance, the inputs that it used, its speed and cost, the lengths of its reports,
and the details that a line of the page opens. All are read from files that the stages wrote;
nothing is computed here that takes time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reportcard.api import Json, ReportCardError
from reportcard.core.files import read_json, read_jsonl
from reportcard.core.layout import PredictionFolder, Results, RunId
from reportcard.core.records import from_json, to_json
from reportcard.predict.predictions_file import DoneFile
from reportcard.publish.board.boards import Cell, Cost, Counts, Speed
from reportcard.score.details import breakdown
from reportcard.score.details import update as details
from reportcard.score.details.details_file import (
    Details,
    Lengths,
    MetricDetails,
    ReportFacts,
    SubgroupScores,
    Tokens,
)
from reportcard.score.details.report_texts import REPLAY
from reportcard.score.score_file import ScoreFile

TIERS = ("generated here", "re-scored from predictions", details.AGAIN)


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a model's card says of the model."""

    kind: str = "model"
    description: str | None = None
    inputs: tuple[str, ...] | None = None
    trained_on: tuple[str, ...] | None = None
    sees_references: bool | None = None
    needs_train: bool | None = None
    draws: int | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run that the leaderboard reads."""

    prices: Prices | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """One line of timing.jsonl: a session of a model, and the answers that it gave."""

    seconds: float
    studies: int


@dataclass(frozen=True, slots=True)
class RunCard:
    """card.json beside a run's predictions. Scores alone (a release, say) come without a card."""

    card: CardFacts = CardFacts()
    plugin: str | None = None
    options: Options = Options()


def read_card(results_dir: Path, run: RunId) -> RunCard:
    """Read a run's card; an empty one if there is none. Raises ReportCardError if damaged."""
    path = Results(results_dir).predictions(run.cohort, run.system).card
    if not path.is_file():
        return RunCard()
    saved = read_json(path)
    try:
        if "card" not in saved:
            raise ValueError("no 'card'")
        return from_json(RunCard, saved)
    except ValueError as error:
        raise ReportCardError(f"{path} is damaged ({error}). Run: reportcard predict") from None


@dataclass(frozen=True, slots=True)
class Disclosures:
    """The facts of one run, named as the fields of an `Entry`."""

    tier: str
    used: Mapping[str, int] | None
    speed: Speed | None
    cost: Cost | None
    lengths: Lengths | None
    unique_share: float | None
    top_share: float | None
    reference_top_share: float | None
    mode_collapse: bool | None
    details: Json


def disclosed(
    results_dir: Path,
    run: RunId,
    files: Mapping[str, ScoreFile],
    cells: Mapping[str, Cell],
    counts: Counts,
    card: RunCard,
) -> Disclosures:
    """Collect what a board shows of a run besides its scores.

    Args:
        results_dir: where the run's predictions and details are.
        run: the run.
        files: its score files by metric.
        cells: its scores on the board by key.
        counts: what became of its studies.
        card: its run card.

    Raises ReportCardError naming a damaged file.
    """
    results = Results(results_dir)
    digests = {metric: file.rows_sha256 for metric, file in files.items()}
    saved = details.read(results.details(run), digests)
    try:
        found = None if saved is None else from_json(Details, saved)
    except ValueError as error:
        path = results.details(run)
        raise ReportCardError(
            f"{path} is damaged ({error}). Delete it and run: reportcard score"
        ) from None
    reports = found.reports if found else ReportFacts()
    primary = next((file.primary for file in files.values() if file.primary), ())
    unique = counts.unique_candidates
    return Disclosures(
        tier=_tier(card),
        used=reports.used,
        speed=_speed(results.predictions(run.cohort, run.system)),
        cost=_cost(card.options.prices, reports.tokens),
        lengths=reports.lengths,
        unique_share=round(unique / counts.evaluated, 6) if counts.evaluated and unique else None,
        top_share=reports.top_share,
        reference_top_share=reports.reference_top_share,
        mode_collapse=reports.mode_collapse,
        details=_details(cells, found, primary),
    )


def _speed(folder: PredictionFolder) -> Speed | None:
    """Return the wall time of the model's sessions, with loading, per 1,000 studies.

    A session that was killed left no time and counts no study.
    """
    lines = [line for _, line in read_jsonl(folder.timing)] if folder.timing.is_file() else []
    sessions = [from_json(Session, line) for line in lines]
    answers = sum(session.studies for session in sessions)
    if not answers:
        return None
    draws = DoneFile.read(folder.done).draws if folder.done.is_file() else 1
    seconds = sum(session.seconds for session in sessions) / answers * draws
    return Speed(float(f"{1000 * seconds:.3g}"), answers // draws)


def _cost(prices: Prices | None, tokens: Tokens | None) -> Cost | None:
    """Return the price of the tokens that were answered.

    Discounts for cached input and requests without an answer are not counted.
    """
    if not prices or not tokens:
        return None
    usd = (tokens.read * prices.input + tokens.written * prices.output) / 1e6
    return Cost(float(f"{1000 * usd / tokens.studies:.4g}"), tokens.studies)


def _tier(card: RunCard) -> str:
    here, rescored, unknown = TIERS
    if card.plugin is None:  # scores alone: a release, say
        return unknown
    return rescored if card.plugin == REPLAY else here


def _details(cells: Mapping[str, Cell], saved: Details | None, primary: Sequence[str]) -> Json:
    """Return what opening a line of the page shows."""
    metric = label_metric(cells, primary)
    found = saved or Details()
    part = found.metrics.get(metric or "")
    errors = part.errors if part else None
    shown: Json = {
        "findings_from": metric,
        "findings": breakdown.findings(cells, metric) if metric else [],
        "subgroups": to_json(_merged(found.metrics.values())),
        "errors": {
            **(errors or {"omissions": None, "hallucinations": None, "critical": []}),
            "prior_comparisons_without_prior": found.reports.prior_comparisons_without_prior,
        },
    }
    return shown if saved else {**shown, "not_recorded": details.AGAIN}


def label_metric(cells: Mapping[str, Cell], primary: Sequence[str]) -> str | None:
    """Return the metric whose findings are shown.

    Of those that scored any, it is the one that the protocol prefers, else the first by name.
    """
    metrics = dict.fromkeys(key.partition(".")[0] for key in cells)
    able = [metric for metric in metrics if breakdown.findings(cells, metric)]
    preferred = [key.partition(".")[0] for key in primary]
    return min(
        able,
        key=lambda m: (preferred.index(m) if m in preferred else len(preferred), m),
        default=None,
    )


def _merged(parts: Iterable[MetricDetails]) -> dict[str, list[SubgroupScores]]:
    """Join the subgroups of all metrics: group → values, each with the scores of all metrics.

    n is that of the first metric; a score of another number of studies names its own.
    """
    merged: dict[str, dict[str, SubgroupScores]] = {}
    for part in parts:
        for group, values in part.subgroups.items():
            known = merged.setdefault(group, {})
            for one in values:
                first = known.setdefault(one.value, replace(one, cells={}))
                n = one.n if one.n != first.n else None  # some studies are unscored here
                cells = {key: replace(cell, n=n) for key, cell in one.cells.items()}
                known[one.value] = replace(first, cells={**first.cells, **cells})
    return {group: list(values.values()) for group, values in merged.items()}
