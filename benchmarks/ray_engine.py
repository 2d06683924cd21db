"""Measure engine=ray: the gain from a second replica, the driver's cost, and a long run.

    python -m benchmarks.ray_engine [--tiny] [replicas overhead saturation soak]

The model sleeps as long as a GPU would work, so two replicas can be measured on two busy cores. The
driver's cost is its own CPU time (all threads) per request, which other work on the machine does
not lengthen; wall time is printed next to it. Targets: two replicas are at least 1.9 times as fast
as one, the driver takes less than 1 ms per request, and its memory does not grow over 100,000
requests. `--tiny` runs every part with few requests, to see that it works.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reportcard.api import ModelCard, Prediction, Report, Request
from reportcard.config.settings import EngineSettings
from reportcard.data.sources.phantom import Phantom
from reportcard.predict.engines import local
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.engines.ray import RayEngine

BATCH = 64


@dataclass(frozen=True)
class Amounts:
    """How many requests each part sends."""

    replica_batches: int = 60
    overhead: int = 20_000
    saturation_replicas: tuple[int, ...] = (1, 4, 16, 64)
    soak_draws: int = 100  # of 1,000 phantom studies each
    soak_mark: int = 5_000  # answers between two readings of the driver's memory


TINY = Amounts(4, 500, (1, 2), 1, 100)


class Sleeper:
    """A model that takes the same number of seconds for each batch, whatever its size."""

    card = ModelCard("sleeps")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        time.sleep(self.seconds)
        return [Prediction(r.study_id, Report("The lungs are clear."), "x") for r in requests]


def requests(n: int) -> list[Request]:
    return [Request(f"s{i:06}", indication="cough") for i in range(n)]


def engine(replicas: int) -> RayEngine:
    return RayEngine(EngineSettings("ray", replicas=replicas, cpus_per_replica=0.01))


def timed(batches: Iterator[list[Prediction]]) -> tuple[float, float, int]:
    """Return wall seconds, the driver's CPU seconds, and the number of answers.

    Both clocks start at the first answer, so that starting the replicas is not counted.
    """
    answers = len(next(batches))
    began, cpu = time.perf_counter(), time.process_time()
    answers = sum(len(batch) for batch in batches)
    return time.perf_counter() - began, time.process_time() - cpu, answers


def replicas(amounts: Amounts) -> None:
    """Compare two replicas with one."""
    asked, seconds = requests(BATCH * amounts.replica_batches), 0.25
    rates = {}
    for count in (1, 2):
        ray = engine(count)
        ray.connect()
        wall, _, answers = timed(ray.generate(ModelJob(Sleeper(seconds), asked), BATCH))
        rates[count] = answers / wall
        ray.close()
        print(
            f"{count} replica(s)   {rates[count]:8.0f} requests/s of {count * BATCH / seconds:.0f}"
        )
    print(f"two against one   {rates[2] / rates[1]:.2f} ×   (target 1.9)")


def overhead(amounts: Amounts) -> None:
    """Measure the driver's time per request with a model that takes none."""
    asked = requests(amounts.overhead)
    ray = engine(2)
    for name, batches in (
        ("local", local.generate(Sleeper(0), asked, BATCH, True)),
        ("ray", ray.generate(ModelJob(Sleeper(0), asked), BATCH)),
    ):
        wall, cpu, answers = timed(batches)
        print(f"{name:<6} driver {1e3 * cpu / answers:6.3f} ms CPU per request,"
              f" {1e3 * wall / answers:6.3f} ms wall   (target below 1)")  # fmt: skip
    ray.close()


def saturation(amounts: Amounts) -> None:
    """Find the number of replicas that one driver keeps busy; a batch of 8 takes 1 s."""
    for count in amounts.saturation_replicas:
        ray = engine(count)
        asked = requests(8 * count * 12)
        batches = ray.generate(ModelJob(Sleeper(1.0), asked), 8)
        done: list[tuple[float, int]] = []
        cpu = time.process_time()
        for batch in batches:
            done.append((time.perf_counter(), len(batch)))
        cpu = time.process_time() - cpu
        # In the middle third every replica works and none has run out of requests.
        part = done[len(done) // 3 : 2 * len(done) // 3 + 1]
        rate = sum(n for _, n in part[1:]) / (part[-1][0] - part[0][0])
        ray.close()
        share, each = rate / (8 * count), 1e3 * cpu / len(asked)
        print(f"{count:3} replicas  {rate:7.1f} of {8 * count} requests/s  {share:6.1%}"
              f"  driver {each:.2f} ms CPU per request", flush=True)  # fmt: skip


def soak(amounts: Amounts) -> None:
    """Answer 1,000 phantom studies with many draws, and print whether the driver's memory grows."""
    studies = Phantom(test=1000, train=0).select().test
    asked = [
        replace(study.request, draw=draw) for draw in range(amounts.soak_draws) for study in studies
    ]
    ray, marks, answered = engine(2), [], 0
    cpu, began = time.process_time(), time.perf_counter()
    for batch in ray.generate(ModelJob(Sleeper(0.002), asked), BATCH):
        answered += len(batch)
        if answered // amounts.soak_mark > len(marks):
            marks.append((answered, _resident()))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    ray.close()
    n, memory = np.array(marks[2:]).T
    slope = np.polyfit(n, memory, 1)[0] * 10_000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{answered:,} requests in {wall:.1f} s, {answered / wall:,.0f} a second;"
          f" driver {1e3 * cpu / answered:.3f} ms CPU per request")  # fmt: skip
    print(f"driver memory {memory[0]:.0f} → {memory[-1]:.0f} MiB, slope {slope:+.2f} MiB per 10,000"
          f" requests, peak {peak:.0f} MiB")  # fmt: skip


def _resident() -> float:
    """Return the memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    if importlib.util.find_spec("ray") is None:
        return print("not run: Ray is not installed (pip install 'cxr-reportcard[ray]')")
    parts = {"replicas": replicas, "overhead": overhead, "saturation": saturation, "soak": soak}
    amounts = TINY if "--tiny" in sys.argv else Amounts()
    for name in [word for word in sys.argv[1:] if word != "--tiny"] or parts:
        print(f"-- {name}")
        parts[name](amounts)


if __name__ == "__main__":
    main()
