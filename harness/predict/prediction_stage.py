"""Stage 2: generates the predictions of one model on one cohort. Resumable after every batch.

predictions/<cohort>@<fp8>/<label>@<fp8>/
    predictions.jsonl   one line per study and draw, in cohort order
    card.json           which model, which cohort, which code
    timing.jsonl        wall time per session (not reproducible, so it has a file of its own)
    DONE                written last: sha256 of predictions.jsonl, counts of answers by status,
                        and of studies whose image could not be read, by kind of failure
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from reportcard.api import Prediction, Request
from reportcard.core.environment import environment
from reportcard.core.files import (
    JsonlLog,
    RunLock,
    file_digest,
    jsonl,
    make_private,
    read_jsonl,
    write_atomic,
)
from reportcard.core.layout import PredictionFolder, Results
from reportcard.data.cohort import Cohort
from reportcard.predict.engines.engine import Engine
from reportcard.predict.engines.local import LocalEngine
from reportcard.predict.predictions_file import (
    CardFile,
    DoneFile,
    answer_key,
    count_image_failures,
    count_status,
    is_done,
    line_key,
    to_json,
)
from reportcard.predict.shards import close_shards, merge_shards
from reportcard.predict.system import (
    System,
    answer_all,
    check_can_run,
    job_of,
    notes_of,
    requests_of,
)


def predict(
    results_dir: Path,
    cohort: Cohort,
    system: System,
    batch_size: int,
    progress: Callable[..., Iterable[list[Prediction]]],
    engine: Engine | None = None,
) -> tuple[Path, bool]:
    """Generate the predictions that are not stored yet.

    Args:
        results_dir: the results folder.
        cohort: the studies.
        system: the model.
        batch_size: for a model that has no batch size of its own.
        progress: wraps the batches to show progress (core/progress.py).
        engine: where the model runs; None: in this process.

    Returns the run's folder and whether anything was generated.
    Raises ReportCardError when the model cannot run on this cohort, when another process writes
    the same run, or when predictions.jsonl was changed after the run was complete.
    """
    run = Results(results_dir).predictions(cohort.folder, system.folder)
    if is_done(run.path):
        return run.path, False
    check_can_run(system, cohort)
    requests = requests_of(cohort, system)
    private = cohort.card.data_class != "open"
    if private:
        make_private(run.path)
    with RunLock(run.path):
        if is_done(run.path):  # another process finished it before we had the lock
            return run.path, False
        log = JsonlLog(run.log)
        merge_shards(run, log, requests)
        pending, seconds = answer_all(
            engine or LocalEngine(),
            job_of(results_dir, cohort, system, requests),
            log,
            to_json,
            partial(progress, label=system.label),
            batch_size,
        )
        _finish(run, cohort, system, requests)
        timing = JsonlLog(run.timing)
        timing.append([{"studies": pending, "seconds": round(seconds, 3)}])
        close_shards(run, timing)
        timing.close()
        if private:
            make_private(run.path)
    return run.path, True


def _finish(
    run: PredictionFolder, cohort: Cohort, system: System, requests: Sequence[Request]
) -> None:
    """Put the lines in cohort order, write the card, and DONE last."""
    rows = {line_key(row): row for _, row in read_jsonl(run.log)}
    wanted = [answer_key(request) for request in requests]
    if list(rows) != wanted:
        write_atomic(run.log, jsonl(rows[key] for key in wanted))
    _card(cohort, system).write(run.card)
    DoneFile(
        predictions_sha256=file_digest(run.log),
        n=len(cohort.test),
        draws=system.adapter.card.draws,
        status=count_status(rows.values()),
        image_failures=count_image_failures(rows.values()) or None,
    ).write(run.done)


def _card(cohort: Cohort, system: System) -> CardFile:
    return CardFile(
        model=system.label,
        model_fingerprint=system.fingerprint,
        plugin=system.plugin.plugin,
        options=dict(system.plugin.options),
        card=asdict(system.adapter.card),
        cohort=cohort.name,
        cohort_fingerprint=cohort.fingerprint,
        train_fingerprint=cohort.train_fingerprint,
        environment=environment(),
        marks=system.marking.identity if system.marking else None,
        notes=notes_of(system) or None,
    )
