"""Runs one part of a prediction run: `reportcard predict shard=3/16`, without Ray.

<run folder>/shards/3-of-16/
    predictions.jsonl   answers to every 16th batch of the plan, starting with the third
    timing.jsonl        like the run's own

Batches are planned from all requests, so the answers are those of one process, byte for byte. A
shard writes to its own folder under its own lock, so several may run at once on one file system.
A plain `predict` or `run` merges what all shards have answered, answers the rest, and removes them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

from reportcard.api import Json, ModelAdapter, Prediction, Request
from reportcard.config.settings import EngineSettings, Shard
from reportcard.core.files import JsonlLog, RunLock, make_private
from reportcard.core.layout import PredictionFolder, Results
from reportcard.data.cohort import Cohort
from reportcard.predict.engines.engine import Engine
from reportcard.predict.engines.job import batches
from reportcard.predict.predictions_file import AnswerKey, answer_key, is_done, line_key, to_json
from reportcard.predict.system import (
    System,
    answer_all,
    batch_size_of,
    check_can_run,
    job_of,
    requests_of,
)

LINES_PER_WRITE = 1000


def predict_shard(
    results_dir: Path,
    cohort: Cohort,
    system: System,
    shard: Shard,
    progress: Callable[..., Iterable[list[Prediction]]],
    engine: Engine,
) -> int:
    """Generate the predictions of one shard that are not stored yet.

    Args:
        results_dir: the results folder.
        cohort: the studies, of which the shard answers a part.
        system: the model.
        shard: which part.
        progress: wraps the batches to show progress (core/progress.py).
        engine: where the model runs.

    Returns how many answers were generated.
    Raises ReportCardError when the model cannot run on this cohort, or when another process writes
    this shard.
    """
    run = Results(results_dir).predictions(cohort.folder, system.folder)
    if is_done(run.path):
        return 0
    check_can_run(system, cohort)
    private = cohort.card.data_class != "open"
    part = run.shard(shard.number, shard.of)
    for place in (run.path, run.all_shards, part.path) if private else ():
        make_private(place)
    requests = requests_of(cohort, system)
    with RunLock(part.path, "shard=K/N"):
        pending, seconds = answer_all(
            engine,
            job_of(results_dir, cohort, system, requests),
            JsonlLog(part.log),
            to_json,
            partial(progress, label=f"{system.label} {shard}"),
            engine.settings.batch_size,
            keys_of_other_shards(system.adapter, requests, shard, engine.settings),
        )
        if pending:
            log = JsonlLog(part.timing)
            log.append([{"studies": pending, "seconds": round(seconds, 3)}])
            log.close()
        if private:
            make_private(part.path)
    return pending


def keys_of_other_shards(
    adapter: ModelAdapter, requests: Sequence[Request], shard: Shard, settings: EngineSettings
) -> Set[AnswerKey]:
    """Return the answers whose batch belongs to another shard.

    Args:
        adapter: the model, which may have a batch size and a `cost` of its own.
        requests: all requests of the run.
        shard: our part.
        settings: the engine's batch size, and whether batches have one cost.
    """
    size = batch_size_of(adapter, settings.batch_size)
    plan = batches(requests, size, getattr(adapter, "cost", None), settings.exact_buckets)
    ours = {answer_key(r) for batch in plan[shard.number - 1 :: shard.of] for r in batch}
    return {answer_key(request) for request in requests} - ours


def merge_shards(run: PredictionFolder, log: JsonlLog, requests: Sequence[Request]) -> None:
    """Append to the run's log the answers of its shards that it lacks."""
    missing = {answer_key(request) for request in requests}
    missing -= {line_key(row) for row in log.rows()}
    for part in run.shards():
        lines = _whole_lines(part.log)
        while rows := list(islice(lines, LINES_PER_WRITE)):
            new = {line_key(row): row for row in rows}
            log.append(row for key, row in new.items() if key in missing)
            missing -= set(new)


def close_shards(run: PredictionFolder, timing: JsonlLog) -> None:
    """Append the shards' timing to the run's, then delete the shards of a complete run."""
    for part in run.shards():
        timing.append(_whole_lines(part.timing))
    shutil.rmtree(run.all_shards, ignore_errors=True)


def _whole_lines(path: Path) -> Iterator[Json]:
    """Yield the complete lines of a log; nothing when there is none.

    Another process may be writing the log, or was killed while it did: a last line without its end
    is skipped.
    """
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for line in lines:
            with suppress(ValueError):
                if line.endswith(b"\n"):
                    yield json.loads(line)
