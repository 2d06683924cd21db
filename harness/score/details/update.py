"""Writes details.json: what the tables show when a row is opened. The score stage makes it.

scores/<cohort>@<fp8>/<label>@<fp8>/<protocol>/details.json
    reports   from the predictions: lengths, variety, inputs used, tokens, prior comparisons
    metrics   from each metric's rows.npz: subgroups, and errors where it scores findings one by one

Each part holds the digest of what it was made from (`made_of`, `rows_sha256`) and is made again
when that changes. It holds counts and scores, and no text of a report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reportcard.api import Json, ReportCardError
from reportcard.core.files import digest, read_json, read_jsonl, write_json
from reportcard.core.layout import PredictionFolder, Results, RunId, ScoreFolder
from reportcard.data.cohort import Cohort
from reportcard.predict.predictions_file import CardFile, DoneFile
from reportcard.score.details import breakdown
from reportcard.score.details import prior_comparisons as priors
from reportcard.score.details import report_texts as reports
from reportcard.score.pairs import References, RunPairs
from reportcard.score.rows_file import load_rows
from reportcard.score.scorer import Scorer, ScoringContext
from reportcard.score.stats.resampling import Resampler, clusters_of

VERSION = 2  # goes up whenever a number in the file would change
AGAIN = "not recorded: run `reportcard score` again"


def update(
    results: Results,
    run: RunId,
    cohort: Cohort,
    references: References,
    context: ScoringContext,
    scorers: Sequence[Scorer],
) -> None:
    """Write what is missing or stale in the details of a scored run.

    Args:
        results: the results folder.
        run: the run; its predictions are finished.
        cohort: the studies.
        references: those of the cohort under the run's protocol.
        context: how the run is scored.
        scorers: the metrics; those without fresh scores are passed over.
    """
    path = results.details(run)
    old = _old(path)
    source = results.predictions(run.cohort, run.system)
    new: Json = {
        "version": VERSION,
        "reports": _reports(old.get("reports", {}), source, cohort, references, context),
        "metrics": dict(old.get("metrics", {})),
    }
    place = {study.study_id: i for i, study in enumerate(cohort.test)}
    groups = {
        name: [values[place[study_id]] for study_id in references.ids]
        for name, values in cohort.groups.items()
    }
    for scorer in scorers:
        folder = results.metric(run, scorer.label)
        saved = read_json(folder.scores) if folder.scores.is_file() else {}
        if saved.get("metric_fingerprint") != scorer.fingerprint or "rows_sha256" not in saved:
            continue
        made_of = digest([VERSION, saved["rows_sha256"], saved["stats"], groups])
        if new["metrics"].get(scorer.label, {}).get("made_of") != made_of:
            new["metrics"][scorer.label] = {
                "made_of": made_of,
                "rows_sha256": saved["rows_sha256"],
                **_metric(folder, scorer, groups, references, context),
            }
    new["metrics"] = dict(sorted(new["metrics"].items()))
    if new != old:
        write_json(path, new)


def _old(path: Path) -> Json:
    """Return what an earlier run wrote; {} where that is absent, damaged or of another version."""
    try:
        saved = read_json(path) if path.is_file() else {}
    except ReportCardError:
        return {}
    whole = all(isinstance(saved.get(part), dict) for part in ("reports", "metrics"))
    return saved if whole and saved.get("version") == VERSION else {}


def _reports(
    old: Json,
    source: PredictionFolder,
    cohort: Cohort,
    references: References,
    context: ScoringContext,
) -> Json:
    """Return the part `reports`: `old` where it is fresh.

    Args:
        old: what an earlier run wrote.
        source: the run's finished predictions.
        cohort: the studies.
        references: those of the cohort under the run's protocol.
        context: how the run is scored.
    """
    predictions = DoneFile.read(source.done).predictions_sha256
    stats = context.stats
    made_of = digest(
        [
            *(VERSION, priors.VERSION, predictions, cohort.fingerprint),
            *(context.protocol.name, context.text.name, list(context.protocol.sections)),
            *(stats.resamples, stats.seed, stats.confidence),
        ]
    )
    if old.get("made_of") == made_of:
        return old
    lines = [
        {name: line[name] for name in reports.FIELDS if name in line}
        for _, line in read_jsonl(source.log)
    ]
    draws = [pairs for _, _, pairs in RunPairs(source.path, references).slices(whole=True)]
    given = {study.study_id: study.request.prior is not None for study in cohort.test}
    inputs_reported = reports.reports_its_inputs(CardFile.read(source.card), lines)
    patients = clusters_of(references.patients)
    resampler = Resampler(len(references.ids), stats.resamples, stats.seed or 0, patients)
    return {
        "made_of": made_of,
        "predictions_sha256": predictions,
        "lengths": {
            "candidate": reports.lengths([pair.candidate for pair in draws[0]]),
            "reference": reports.lengths([pair.reference for pair in draws[0]]),
        },
        **reports.variety(draws[0]),
        "used": reports.used(lines),
        "tokens": reports.tokens(lines),
        "prior_comparisons_without_prior": reports.prior_comparisons(
            draws, lines, given, inputs_reported, resampler, stats.confidence
        ),
    }


def _metric(
    folder: ScoreFolder,
    scorer: Scorer,
    groups: Mapping[str, Sequence[str]],
    references: References,
    context: ScoringContext,
) -> Json:
    """Return the subgroups of one metric, and its errors where it scores findings.

    Args:
        folder: the metric's scores on this run.
        scorer: the metric.
        groups: group → the value of each study.
        references: those of the cohort under the run's protocol.
        context: how the run is scored.
    """
    _, rows, _ = load_rows(folder.path)
    resampler = context.resampler(scorer, references.patients)
    confidence = context.stats.confidence
    centre = context.protocol.interval_of(scorer.plugin).centre
    part: Json = {
        "subgroups": breakdown.subgroups(rows, scorer, groups, resampler, confidence, centre)
    }
    if names := breakdown.findings_in(list(scorer.metric.spec.keys)):
        scores = scorer.scores_of_sample(rows)
        part["errors"] = breakdown.errors(rows, scores, names, resampler, confidence)
    return part


def read(path: Path, digests: Mapping[str, str | None]) -> Json | None:
    """Read the details of a run, or None if its scores are older than details.

    path: the run's details.json. digests: metric → sha256 of its rows.npz; parts that belong to
    other rows are left out. Raises ReportCardError when the file is damaged.
    """
    if not path.is_file():
        return None
    saved = read_json(path)
    if not all(isinstance(saved.get(part), dict) for part in ("reports", "metrics")):
        raise ReportCardError(f"{path} is damaged. Delete it and run: reportcard score")
    fresh = {
        metric: part
        for metric, part in saved["metrics"].items()
        if part.get("rows_sha256") == (digests.get(metric) or "")
    }
    return {**saved, "metrics": fresh}
