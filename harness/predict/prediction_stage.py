"""Cohort × model → predictions.jsonl, resumable at every batch.

predictions/<cohort>@<fp8>/<label>@<fp8>/
    predictions.jsonl   one line per study and draw, in cohort order
    card.json           the run card
    timing.jsonl        wall time per session (not reproducible, so kept apart)
    DONE                written last: sha256 of predictions.jsonl, and counts: of answers by
                        status, and of studies whose image could not be had, by kind of failure
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from reportcard.api import (
    Json,
    Prediction,
    Request,
)
from reportcard.core.environment import environment
from reportcard.core.files import (
    JsonlLog,
    RunLock,
    file_digest,
    jsonl,
    make_private,
    read_jsonl,
    write_atomic,
    write_json,
)
from reportcard.core.layout import predictions_dir
from reportcard.data.cohort import Cohort
from reportcard.predict.engines.engine import Engine
from reportcard.predict.engines.local import LocalEngine
from reportcard.predict.engines.worker import IMAGE_FAILURE
from reportcard.predict.loop import answer_all
from reportcard.predict.predictions_file import is_done, to_json
from reportcard.predict.system import System, job_of, notes_of, refuse, requests_of


def predict(
    results_dir: Path,
    cohort: Cohort,
    system: System,
    batch_size: int,
    progress: Callable[..., Iterable[list[Prediction]]],
    engine: Engine | None = None,
) -> tuple[Path, bool]:
    """Generate what is not there yet. Returns the run folder and whether anything was generated.

    engine: where the model runs; None: in this process.
    Raises ReportCardError when preflight refuses, when another process writes the same run, or
    when predictions.jsonl was changed after the run was complete.
    """
    from reportcard.predict.shards import (  # which asks this module what a run is
        close_shards,
        take_in,
    )

    folder = predictions_dir(results_dir, cohort, system)
    if is_done(folder):
        return folder, False
    refuse(system, cohort)
    requests = requests_of(cohort, system)
    private = cohort.card.data_class != "open"
    if private:
        make_private(folder)
    with RunLock(folder):
        if is_done(folder):  # the other process finished between the look and the lock
            return folder, False
        log = JsonlLog(folder / "predictions.jsonl")
        take_in(folder, log, requests)
        pending, seconds = answer_all(
            engine or LocalEngine(),
            job_of(results_dir, cohort, system, requests),
            log,
            to_json,
            partial(progress, label=system.label),
            batch_size,
        )
        _finish(folder, cohort, system, requests)
        timing = JsonlLog(folder / "timing.jsonl")
        timing.append([{"studies": pending, "seconds": round(seconds, 3)}])
        close_shards(folder, timing)
        timing.close()
        if private:
            make_private(folder)
    return folder, True


def _finish(folder: Path, cohort: Cohort, system: System, requests: Sequence[Request]) -> None:
    """Put the lines in cohort order, write the card, and DONE last."""
    path = folder / "predictions.jsonl"
    rows = {(row["study_id"], row["draw"]): row for _, row in read_jsonl(path)}
    wanted = [(r.study_id, r.draw) for r in requests]
    if list(rows) != wanted:
        write_atomic(path, jsonl(rows[key] for key in wanted))
    write_json(folder / "card.json", _card(cohort, system))
    status = Counter(row["status"] for row in rows.values())
    failures = _image_failures(rows.values())
    write_json(
        folder / "DONE",
        {
            "predictions_sha256": file_digest(path),
            "n": len(cohort.test),
            "draws": system.adapter.card.draws,
            "status": dict(sorted(status.items())),
            **({"image_failures": failures} if failures else {}),
        },
    )


def _image_failures(rows: Iterable[Json]) -> dict[str, int]:
    """Kind of ImageError → studies that failed for it in any draw."""
    found = {
        (row["study_id"], match[1])
        for row in rows
        if row["status"] == "failed" and (match := IMAGE_FAILURE.match(row.get("error", "")))
    }
    return dict(sorted(Counter(kind for _, kind in found).items()))


def _card(cohort: Cohort, system: System) -> Json:
    return {
        "model": system.label,
        "model_fingerprint": system.fingerprint,
        "plugin": system.plugin.plugin,
        "options": dict(system.plugin.options),
        "card": asdict(system.adapter.card),
        "cohort": cohort.name,
        "cohort_fingerprint": cohort.fingerprint,
        "train_fingerprint": cohort.train_fingerprint,
        **({"marks": system.marking.identity} if system.marking else {}),
        **({"notes": list(notes)} if (notes := notes_of(system)) else {}),
        "environment": environment(),
    }
