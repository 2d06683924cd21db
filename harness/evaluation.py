"""Bring your own predictions: pairs in, scores with intervals out. Also `reportcard evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import config
from harness.annotate import Cache, Progress, attach
from harness.api import Json, Pair, ReportCardError
from harness.progress import quiet
from harness.score import Scorer, Setting, not_run, open_metrics, score
from harness.settings import Protocol, Stats
from harness.tables import ID_COLUMN, Record, by_id, read_records
from harness.text import normaliser
from harness.weights import weights_dir

DEFAULT = ("bleu", "rouge")
CANDIDATE = ("candidate",)
REFERENCE = ("reference",)
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
) -> Json:
    """Score candidate reports against references.

    pairs: a .jsonl, .csv, .tsv or .json file, or an iterable of mappings, with `study_id`,
        `candidate`, `reference` and optionally `patient_id` (intervals are then drawn by patient
        where a patient has several studies).
    metrics: names as in `reportcard list metrics`; None: those of the protocol's columns, else BLEU
        and ROUGE.
    protocol: a name of conf/protocol. seed: of the bootstrap; None: the protocol's own, else 0.
    overrides: where weights lie, e.g. ["weights.chexbert=/path"].
    train: reports that a protocol with a vocabulary needs (r2gen): texts, or a file with a column
        reference, report, findings or text, a .txt with one report a line, or R2Gen's
        annotation.json (its train part).

    Returns {"n", "n_patients", "empty_candidates", "excluded_empty_reference", "protocol",
    "metrics": {"bleu.bleu_4": {"value", "ci_low", "ci_high", "n", "unscored", "direction",
    "unit", "range", "signature"}, …}, "columns": the paper's names → the same, "left_out": columns
    of the paper without a number here, and why}. A metric whose weights are missing has no values
    and says `not_run`. An empty candidate is scored as empty and counted; an empty
    reference is excluded and counted. Raises ReportCardError for bad input, naming file and line.
    """
    foreign = [o for o in overrides if not o.startswith(("weights.", "annotator."))]
    if foreign:
        raise ReportCardError(
            f"evaluate takes weights.… and annotator.… overrides only, not {', '.join(foreign)};"
            " see reportcard evaluate --help."
        )
    if isinstance(metrics, str):
        metrics = metrics.split(",")
    named = config.load_protocol(protocol)
    wanted = [m.strip() for m in metrics or () if m.strip()]
    wanted = wanted or named.metrics_of_columns() or list(DEFAULT)
    scorers = open_metrics(config.load_metrics(wanted, named), overrides)
    records = by_id(_records(pairs))
    setting = Setting(
        named, normaliser(named, _train_texts(train)), Stats(resamples, seed, confidence)
    )
    rows = [(key, r.text(*CANDIDATE), r.text(*REFERENCE)) for key, r in records.items()]
    kept = [row for row in rows if row[2].strip()]
    if not kept:
        raise ReportCardError("Every reference is empty: nothing to score against.")
    patients = [_patient(records[key]) for key, _, _ in kept]
    prepared = [setting.pair(*row) for row in kept]
    found: Json = {}
    for scorer in scorers:
        found |= _score(scorer, prepared, patients, setting, progress)
    return {
        "n": len(kept),
        "n_patients": len(set(patients)),
        "empty_candidates": sum(not candidate.strip() for _, candidate, _ in kept),
        "excluded_empty_reference": len(rows) - len(kept),
        "protocol": protocol,
        "metrics": found,
        "columns": _columns(named, found),
        "left_out": dict(named.left_out),
    }


def _score(
    scorer: Scorer,
    pairs: Sequence[Pair],
    patients: Sequence[str],
    setting: Setting,
    progress: Progress,
) -> Json:
    if scorer.not_run:
        return not_run(scorer, scorer.not_run, patients, setting)
    if not scorer.annotators:
        return score(scorer, [pairs], patients, setting)[1]
    cache = Cache(weights_dir().parent / "annotations.sqlite")
    try:
        noted = attach(scorer.annotators, [pairs], cache, progress)
    except ReportCardError as error:  # unusable weights cost their own metric only
        return not_run(scorer, str(error), patients, setting)
    finally:
        cache.close()
    return score(scorer, noted, patients, setting)[1]


def _columns(protocol: Protocol, found: Json) -> Json:
    """The paper's columns that were asked for; "1/key" is shown only where 1/x is meaningful."""
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
    """1/value with its interval for display. Without a value where the interval reaches 0."""
    value, low, high = (entry[name] for name in ("value", "ci_low", "ci_high"))
    flipped = {**entry, "direction": "lower" if entry["direction"] == "higher" else "higher"}
    if value is None or low is None or high is None or not 0 < low <= value <= high:
        reason = entry.get("not_run") or "1/x has a pole at 0, and the interval reaches it"
        return {**flipped, "value": None, "ci_low": None, "ci_high": None, "not_run": reason}
    return {**flipped, "value": 1 / value, "ci_low": 1 / high, "ci_high": 1 / low}


def _records(pairs: Pairs) -> list[Record]:
    if isinstance(pairs, str | Path):
        return read_records(Path(pairs))
    # A pandas DataFrame gives its rows itself; it is no dependency of ours.
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
        from harness.store import read_json

        try:
            annotation = read_json(path)
        except ReportCardError:
            annotation = {}
        if isinstance(annotation.get("train"), list):
            return [str(row["report"]) for row in annotation["train"]]
    return [record.text(*TRAIN) for record in read_records(path)]
