"""Scores pairs of a user's own, from Python and for `reportcard evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reportcard.annotate import Cache, attach_notes, needs_cache
from reportcard.api import (
    Custody,
    DataClass,
    DatasetCard,
    Json,
    JudgedAnnotator,
    Pair,
    Phrase,
    Progress,
    ReportCardError,
)
from reportcard.config import compose as config
from reportcard.config.settings import Protocol, Stats
from reportcard.core.files import read_json
from reportcard.core.layout import notes_file
from reportcard.core.progress import quiet
from reportcard.core.user_files import ID_COLUMN, Record, by_id, read_records
from reportcard.data.grounded import phrases_of
from reportcard.llm.custody import custody_of
from reportcard.score.normalise import normaliser
from reportcard.score.pairs import rows_of, unscored_reasons
from reportcard.score.scorer import (
    Scorer,
    ScoringContext,
    not_run,
    open_metrics,
    score,
)

DEFAULT = ("bleu", "rouge")
CANDIDATE = ("candidate", "prediction")
REFERENCE = ("reference", "target")
PREDICTION, TARGET = "prediction", "target"
TRAIN = ("reference", "report", "findings", "text")

Pairs = str | Path | Iterable[Mapping[str, Any]]


def evaluate(
    pairs: Pairs,
    metrics: Sequence[str] | None = None,
    protocol: str = "reportcard",
    resamples: int = 500,
    seed: int | None = None,
    confidence: float = 0.95,
    train: str | Path | Sequence[str] | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = quiet,
    data_class: DataClass = "credentialed",
    dua_id: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Json:
    """Score candidate reports against references.

    Args:
        pairs: a .jsonl, .csv, .tsv or .json file, or an iterable of mappings, with `study_id`,
            `candidate`, `reference` and optionally `patient_id` (intervals are then drawn by
            patient where a patient has several studies). Grounded pairs have `prediction` and
            `target`, lists of {text, boxes: [{x_min, y_min, x_max, y_max}] | null}, as in
            RadFact's examples; those without a study_id are numbered.
        metrics: names as in `reportcard list metrics`; None: those of the protocol's columns, else
            BLEU and ROUGE.
        protocol: a name of conf/protocol.
        resamples: replicates of the bootstrap.
        seed: of the bootstrap; None: the protocol's own, else 0.
        confidence: of the intervals.
        train: reports that a protocol with a vocabulary needs (r2gen): texts, or a file with a
            column reference, report, findings or text, a .txt with one report a line, or R2Gen's
            annotation.json (its train part).
        overrides: where weights are and who judges, e.g. ["weights.chexbert=/path",
            "judge=recorded", "judge.verdicts=v.jsonl"].
        progress: shows progress.
        data_class, dua_id: what a judge may be sent. Pairs of unknown origin count as credentialed:
            a judge on this machine may read them, any other only if conf/egress.yaml lists it for
            dua_id.
        say: gets a line of text on what a judge does.

    Returns:
        {"n", "n_patients", "empty_candidates", "excluded_empty_reference", "protocol",
        "metrics": {"bleu.bleu_4": {"value", "ci_low", "ci_high", "n", "unscored", "direction",
        "unit", "range", "signature"}, …},
        "unscored": per metric the studies without a score and why,
        "columns": the paper's names → the same,
        "left_out": columns of the paper without a number here, and why}.
        A metric whose weights are missing has no values and says `not_run`. An empty candidate is
        scored as empty and counted; an empty reference is excluded and counted.

    Raises ReportCardError for bad input, naming file and line.
    """
    check_overrides("evaluate", overrides)
    if isinstance(metrics, str):
        metrics = metrics.split(",")
    named = config.load_protocol(protocol)
    wanted = [m.strip() for m in metrics or () if m.strip()]
    wanted = wanted or named.metrics_of_columns() or list(DEFAULT)
    annotators = config.load_annotators(overrides) if overrides else None
    scorers = open_metrics(config.load_metrics(wanted, named), annotators)
    records = by_id(_numbered(_records(pairs)))
    context = ScoringContext(
        named,
        normaliser(named, _train_texts(train)),
        Stats(resamples, seed, confidence),
        as_given=True,
    )
    pairs_ = [_pair(key, record, context) for key, record in records.items()]
    kept = [pair for pair in pairs_ if pair.reference.strip()]
    if not kept:
        raise ReportCardError("Every reference is empty: nothing to score against.")
    patients = [_patient(records[pair.study_id]) for pair in kept]
    custody = custody_of(DatasetCard("the pairs", data_class, dua_id), progress, say)
    found: Json = {}
    unscored: Json = {}
    for scorer in scorers:
        entries, reasons = _score(scorer, kept, patients, context, custody)
        found |= entries
        unscored |= {scorer.label: reasons} if reasons else {}
    return {
        "n": len(kept),
        "n_patients": len(set(patients)),
        "empty_candidates": sum(not pair.candidate.strip() for pair in kept),
        "excluded_empty_reference": len(pairs_) - len(kept),
        "protocol": protocol,
        "metrics": found,
        "unscored": unscored,
        "columns": _columns(named, found),
        "left_out": dict(named.left_out),
    }


def _score(
    scorer: Scorer,
    pairs: Sequence[Pair],
    patients: Sequence[str],
    context: ScoringContext,
    custody: Custody,
) -> tuple[Json, dict[str, str]]:
    """Return entries per key, and study_id → reason for each study without a score."""
    if scorer.not_run:
        return not_run(scorer, scorer.not_run, patients, context), {}
    try:
        pairs = with_notes(scorer, pairs, custody)
    except ReportCardError as error:  # unusable weights or a judge cost their own metric only
        return not_run(scorer, str(error), patients, context), {}
    rows = rows_of(scorer, pairs)
    return score(scorer, rows[None], patients, context), unscored_reasons(pairs, rows)


def check_overrides(verb: str, overrides: Sequence[str]) -> None:
    """Raise ReportCardError where an override is not about annotators or their judge."""
    foreign = [o for o in overrides if not config.is_of_annotators(o)]
    if foreign:
        raise ReportCardError(
            f"{verb} takes weights.…, annotator.… and judge.… only, not {', '.join(foreign)};"
            f" see reportcard {verb} --help."
        )


def with_notes(scorer: Scorer, pairs: Sequence[Pair], custody: Custody) -> list[Pair]:
    """Return the pairs with every note that a metric reads.

    custody: whose text it is; a judge checks it before it is asked. Raises ReportCardError for
    unusable weights, or where a judge may not see such text.
    """
    if not scorer.annotators:
        return list(pairs)
    for annotator in scorer.annotators:
        if isinstance(annotator, JudgedAnnotator):
            annotator.admit(custody)
    cache = Cache(notes_file(custody.cache_dir)) if needs_cache(scorer.annotators) else None
    try:
        return attach_notes(scorer.annotators, [pairs], cache, custody.progress)[0]
    finally:
        if cache:
            cache.close()


def _pair(key: str, record: Record, context: ScoringContext) -> Pair:
    """Make a plain or a grounded pair; the text of a grounded report is its phrases, joined."""
    if not _grounded(record):
        return context.pair(key, record.text(*CANDIDATE), record.text(*REFERENCE))
    candidate, reference = (
        phrases_of(record.row.get(name), f"{record.where}: {name}") for name in (PREDICTION, TARGET)
    )
    pair = context.pair(key, _joined(candidate), _joined(reference))
    return replace(pair, candidate_phrases=candidate, reference_phrases=reference)


def _grounded(record: Record) -> bool:
    """Whether a record holds phrases. RadFact's narrative files also have these two names."""
    return not isinstance(record.row.get(PREDICTION), str | None)


def _joined(phrases: Sequence[Phrase]) -> str:
    return " ".join(phrase.text for phrase in phrases)


def _columns(protocol: Protocol, found: Json) -> Json:
    """Return the paper's columns that were scored; "1/key" only where 1/x is meaningful."""
    columns: Json = {}
    for name, key in protocol.columns.items():
        entry = found.get(key.removeprefix("1/"))
        if entry is None:
            continue
        if key.startswith("1/"):
            entry = inverse(entry)
        columns[name] = {"key": key, **entry}
    return columns


def inverse(entry: Json) -> Json:
    """Return 1/value with its interval for display; no value where the interval reaches 0."""
    value, low, high = (entry[name] for name in ("value", "ci_low", "ci_high"))
    flipped = {**entry, "direction": "lower" if entry["direction"] == "higher" else "higher"}
    if value is None or low is None or high is None or not 0 < low <= value <= high:
        reason = entry.get("not_run") or "1/x has a pole at 0, and the interval reaches it"
        return {**flipped, "value": None, "ci_low": None, "ci_high": None, "not_run": reason}
    return {**flipped, "value": 1 / value, "ci_low": 1 / high, "ci_high": 1 / low}


def _records(pairs: Pairs) -> list[Record]:
    if isinstance(pairs, str | Path):
        return read_records(Path(pairs))
    # A pandas DataFrame converts itself, so that pandas is no dependency of ours.
    rows: Iterable[Mapping[str, Any]] = (
        pairs.to_dict("records") if hasattr(pairs, "to_dict") else pairs
    )
    if isinstance(rows, Mapping) or not isinstance(rows, Iterable):
        raise ReportCardError(f"pairs must be a file or many mappings, not {type(pairs).__name__}.")
    records = []
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ReportCardError(f"pairs[{i}] must be a mapping, not {type(row).__name__}.")
        records.append(Record(f"pairs[{i}]", dict(row)))
    if not records:
        raise ReportCardError("No pairs were given.")
    return records


def _numbered(records: list[Record]) -> list[Record]:
    """Number the grounded pairs without a study_id, as RadFact's files have none."""
    return [
        Record(r.where, {ID_COLUMN: f"pair {i}", **r.row}) if _grounded(r) else r
        for i, r in enumerate(records)
    ]


def _patient(record: Record) -> str:
    value = record.row.get("patient_id")
    missing = value is None or value == "" or value != value  # NaN of a DataFrame
    return f"study {record.row[ID_COLUMN]}" if missing else str(value)


def _train_texts(train: str | Path | Sequence[str] | None) -> list[str] | None:
    if train is None or (not isinstance(train, str | Path)):
        texts = None if train is None else list(train)
        if texts and not all(isinstance(text, str) for text in texts):
            raise ReportCardError("train must be texts, or a file that holds them.")
        return texts
    path = Path(train)
    if path.suffix.lower() == ".txt":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ReportCardError(f"{path}: {error}") from None
        return [line for line in lines if line.strip()]
    if path.suffix.lower() == ".json":
        try:
            annotation = read_json(path)
        except ReportCardError:
            annotation = {}
        if isinstance(annotation.get("train"), list):
            return [str(row["report"]) for row in annotation["train"]]
    return [record.text(*TRAIN) for record in read_records(path)]
