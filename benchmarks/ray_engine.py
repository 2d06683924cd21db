"""engine=ray: what a second replica brings, what the driver costs, and a soak.

    python -m benchmarks.ray_engine [replicas overhead saturation soak]

The model sleeps as a GPU would work, so two replicas can be measured on two busy cores. Costs of
the driver are its own CPU time (all threads) per request, which other work on the machine does not
lengthen; wall time is printed beside it. Targets: two replicas ≥ 1.9 × one; driver < 1 ms per
request; memory flat over 100,000 requests.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from reportcard.api import ModelCard, Prediction, Report, Request
from reportcard.config.settings import EngineSettings
from reportcard.data.sources.phantom import Phantom
from reportcard.predict.engines import local
from reportcard.predict.engines.job import ModelJob
from reportcard.predict.engines.ray import RayEngine

BATCH = 64


class Sleeper:
    """Answers after so many seconds per batch, whatever its size."""

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
    """(wall s, driver's CPU s, answers) from the first answer on: starting replicas is not counted,
    nor is what the first batch of each brought."""
    answers = len(next(batches))
    began, cpu = time.perf_counter(), time.process_time()
    answers = sum(len(batch) for batch in batches)
    return time.perf_counter() - began, time.process_time() - cpu, answers


def replicas() -> None:
    asked, seconds = requests(BATCH * 60), 0.25
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


def overhead() -> None:
    asked = requests(20_000)
    ray = engine(2)
    for name, batches in (
        ("local", local.generate(Sleeper(0), asked, BATCH, True)),
        ("ray", ray.generate(ModelJob(Sleeper(0), asked), BATCH)),
    ):
        wall, cpu, answers = timed(batches)
        print(f"{name:<6} driver {1e3 * cpu / answers:6.3f} ms CPU per request,"
              f" {1e3 * wall / answers:6.3f} ms wall   (target below 1)")  # fmt: skip
    ray.close()


def saturation() -> None:
    """Sleeping replicas, 1 s a batch of 8: where the driver no longer keeps them busy."""
    for count in (1, 4, 16, 64):
        ray = engine(count)
        asked = requests(8 * count * 12)
        batches = ray.generate(ModelJob(Sleeper(1.0), asked), 8)
        done: list[tuple[float, int]] = []
        cpu = time.process_time()
        for batch in batches:
            done.append((time.perf_counter(), len(batch)))
        cpu = time.process_time() - cpu
        # The middle third: every replica is up, and none has run out of work.
        part = done[len(done) // 3 : 2 * len(done) // 3 + 1]
        rate = sum(n for _, n in part[1:]) / (part[-1][0] - part[0][0])
        ray.close()
        share, each = rate / (8 * count), 1e3 * cpu / len(asked)
        print(f"{count:3} replicas  {rate:7.1f} of {8 * count} requests/s  {share:6.1%}"
              f"  driver {each:.2f} ms CPU per request", flush=True)  # fmt: skip


def soak() -> None:
    """1,000 phantom studies × 100 draws: the driver's memory and its slope, requests a second."""
    studies = Phantom(test=1000, train=0).select().test
    asked = [replace(study.request, draw=draw) for draw in range(100) for study in studies]
    ray, marks, answered = engine(2), [], 0
    cpu, began = time.process_time(), time.perf_counter()
    for batch in ray.generate(ModelJob(Sleeper(0.002), asked), BATCH):
        answered += len(batch)
        if answered // 5_000 > len(marks):
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
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    if importlib.util.find_spec("ray") is None:
        return print("not run: Ray is not installed (pip install 'cxr-reportcard[ray]')")
    for part in sys.argv[1:] or ["replicas", "overhead", "saturation", "soak"]:
        print(f"-- {part}")
        {"replicas": replicas, "overhead": overhead, "saturation": saturation, "soak": soak}[part]()


if __name__ == "__main__":
    main()
