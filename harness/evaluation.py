"""Bring your own predictions: pairs in, scores with intervals out. Also `reportcard evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import config
from harness.api import Json, ReportCardError
from harness.score import Setting, open_metrics, score
from harness.tables import ID_COLUMN, Record, by_id, read_records
from harness.text import normaliser

CANDIDATE = ("candidate",)
REFERENCE = ("reference",)
TRAIN = ("reference", "report", "findings", "text")

Pairs = str | Path | Iterable[Mapping[str, Any]]


def evaluate(
    pairs: Pairs,
    metrics: Sequence[str] = ("bleu", "rouge"),
    protocol: str = "reportcard",
    resamples: int = 500,
    seed: int = 0,
    confidence: float = 0.95,
    train: str | Path | Sequence[str] | None = None,
) -> Json:
    """Score candidate reports against references.

    pairs: a .jsonl, .csv, .tsv or .json file, or an iterable of mappings, with `study_id`,
        `candidate`, `reference` and optionally `patient_id` (intervals are then drawn by patient
        where a patient has several studies).
    metrics, protocol: names as in `reportcard list metrics` and conf/protocol.
    train: reports that a protocol with a vocabulary needs (r2gen): texts, or a file with a column
        reference, report, findings or text, a .txt with one report a line, or R2Gen's
        annotation.json (its train part).

    Returns {"n", "n_patients", "empty_candidates", "excluded_empty_reference", "protocol",
    "metrics": {"bleu.bleu_4": {"value", "ci_low", "ci_high", "n", "unscored", "direction",
    "unit", "range", "signature"}, …}}. An empty candidate is scored as empty and counted; an empty
    reference is excluded and counted. Raises ReportCardError for bad input, naming file and line.
    """
    named = config.load_protocol(protocol)
    scorers = open_metrics(config.load_metrics(list(metrics), named))
    stats = config.Stats(resamples, seed, confidence)
    records = by_id(_records(pairs))
    texts = normaliser(named, _train_texts(train))
    setting = Setting(named, texts, stats)
    rows = [(key, r.text(*CANDIDATE), r.text(*REFERENCE)) for key, r in records.items()]
    kept = [row for row in rows if row[2].strip()]
    if not kept:
        raise ReportCardError("Every reference is empty: nothing to score against.")
    patients = [_patient(records[key]) for key, _, _ in kept]
    resampler = setting.resampler(patients)
    prepared = [setting.pair(*row) for row in kept]
    found: Json = {}
    for scorer in scorers:
        found |= score(scorer, [prepared], resampler, setting)[1]
    return {
        "n": len(kept),
        "n_patients": len(set(patients)),
        "empty_candidates": sum(not candidate.strip() for _, candidate, _ in kept),
        "excluded_empty_reference": len(rows) - len(kept),
        "protocol": protocol,
        "metrics": found,
    }


def _records(pairs: Pairs) -> list[Record]:
    if isinstance(pairs, str | Path):
        return read_records(Path(pairs))
    # A pandas DataFrame gives its rows itself; it is no dependency of ours.
    rows: Iterable[Mapping[str, Any]] = (
        pairs.to_dict("records") if hasattr(pairs, "to_dict") else pairs
    )
    records = [Record(f"pairs[{i}]", dict(row)) for i, row in enumerate(rows)]
    if not records:
        raise ReportCardError("No pairs were given.")
    return records


def _patient(record: Record) -> str:
    value = record.row.get("patient_id")
    missing = value is None or value == "" or value != value  # NaN of a DataFrame
    return f"study {record.row[ID_COLUMN]}" if missing else str(value)


def _train_texts(train: str | Path | Sequence[str] | None) -> list[str] | None:
    if train is None or (not isinstance(train, str | Path)):
        return None if train is None else list(train)
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
