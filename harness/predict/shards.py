"""`reportcard predict shard=3/16`: a run in parts that need no word of each other (no Ray).

<run folder>/shards/3-of-16/
    predictions.jsonl   answers to every 16th batch of the plan, beginning with the third
    timing.jsonl        as the run's own

Batches are planned from all requests, so answers are those of one process, byte for byte. A shard
writes in its own folder, under its own lock; several may run at once over one file system. A plain
`predict` or `run` takes in what all shards have answered, answers the rest, and removes them.
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
from reportcard.core.layout import predictions_dir
from reportcard.data.cohort import Cohort
from reportcard.predict.engines.batching import batches
from reportcard.predict.engines.engine import Engine
from reportcard.predict.engines.worker import Key, key
from reportcard.predict.loop import answer_all
from reportcard.predict.predictions_file import is_done, to_json
from reportcard.predict.system import System, job_of, refuse, requests_of

AT_ONCE = 1000  # lines per write


def predict_shard(
    results_dir: Path,
    cohort: Cohort,
    system: System,
    shard: Shard,
    progress: Callable[..., Iterable[list[Prediction]]],
    engine: Engine,
) -> int:
    """Answer what this shard lacks; returns how many studies that were.

    Raises ReportCardError when preflight refuses, or when another process writes this shard.
    """
    run = predictions_dir(results_dir, cohort, system)
    if is_done(run):
        return 0
    refuse(system, cohort)
    private = cohort.card.data_class != "open"
    folder = run / "shards" / f"{shard.number}-of-{shard.of}"
    for place in (run, folder.parent, folder) if private else ():
        make_private(place)
    requests = requests_of(cohort, system)
    with RunLock(folder, "shard=K/N"):
        pending, seconds = answer_all(
            engine,
            job_of(results_dir, cohort, system, requests),
            JsonlLog(folder / "predictions.jsonl"),
            to_json,
            partial(progress, label=f"{system.label} {shard}"),
            engine.settings.batch_size,
            of_others(system.adapter, requests, shard, engine.settings),
        )
        if pending:
            log = JsonlLog(folder / "timing.jsonl")
            log.append([{"studies": pending, "seconds": round(seconds, 3)}])
            log.close()
        if private:
            make_private(folder)
    return pending


def of_others(
    adapter: ModelAdapter, requests: Sequence[Request], shard: Shard, settings: EngineSettings
) -> Set[Key]:
    """The requests whose batch is another shard's."""
    size = getattr(adapter, "batch_size", None) or settings.batch_size
    plan = batches(requests, size, getattr(adapter, "cost", None), settings.exact_buckets)
    mine = {key(request) for batch in plan[shard.number - 1 :: shard.of] for request in batch}
    return {key(request) for request in requests} - mine


def take_in(run: Path, log: JsonlLog, requests: Sequence[Request]) -> None:
    """Append to the run's log what shards of any number have answered and it lacks."""
    missing = {key(request) for request in requests}
    missing -= {(row["study_id"], row["draw"]) for row in log.rows()}
    for path in sorted(run.glob("shards/*/predictions.jsonl")):
        lines = _whole_lines(path)
        while rows := list(islice(lines, AT_ONCE)):
            new = {(row["study_id"], row["draw"]): row for row in rows}
            log.append(row for place, row in new.items() if place in missing)
            missing -= set(new)


def close_shards(run: Path, timing: JsonlLog) -> None:
    """Of a run that is complete: its shards' timing is kept, their answers are in it."""
    for path in sorted(run.glob("shards/*/timing.jsonl")):
        timing.append(_whole_lines(path))
    shutil.rmtree(run / "shards", ignore_errors=True)


def _whole_lines(path: Path) -> Iterator[Json]:
    """Lines of a log that another process may be writing, or was killed at: a torn one is left."""
    with path.open("rb") as lines:
        for line in lines:
            with suppress(ValueError):
                if line.endswith(b"\n"):
                    yield json.loads(line)
