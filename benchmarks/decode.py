"""Measure image decoding: images per second of one core, and how long a model waits for them.

    python -m benchmarks.decode [IMAGES_PER_SECOND]

Images are synthetic grey JPEGs of 2500 × 3000 pixels, quality 95, with enough texture that a file
has about a megabyte. The model sleeps 50 ms per image, about the time that a GPU takes. Its idle
share is the time that it spends in `pixels()`, as a share of the time after the first batch; it is
measured with and without decoding ahead. Targets: 25 images per second and core, and no idle time
with decoding ahead. Both hold for a quiet machine; on a busy one, measure a slower model:
`python -m benchmarks.decode 5`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import PIL.Image

from reportcard.api import Image, ModelCard, Prediction, Report, Request
from reportcard.core.imaging.read import read_file
from reportcard.predict.engines import local

HEIGHT, WIDTH, FILES, STUDIES, BATCH = 3000, 2500, 6, 96, 8


def write_radiographs(folder: Path) -> list[Path]:
    """Write FILES pictures of soft shapes with noise of three sizes."""
    rng, paths = np.random.default_rng(0), []
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    for number in range(FILES):
        picture = 110 + 60 * np.sin(rows / 700 + number) * np.cos(columns / 500)
        for step, strength in ((16, 8.0), (4, 3.0), (1, 0.7)):
            noise = rng.normal(0, strength, (-(-HEIGHT // step), -(-WIDTH // step)))
            picture += noise.repeat(step, 0).repeat(step, 1)[:HEIGHT, :WIDTH]
        paths.append(folder / f"{number}.jpg")
        grey = PIL.Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        grey.save(paths[-1], quality=95)
    return paths


class Sleeper:
    """A model that takes `rate` images per second and records how long it waited for each batch."""

    card = ModelCard("sleeps", needs_pixels=True)

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.waited: list[float] = []

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        began = time.perf_counter()
        for request in requests:
            request.images[0].pixels()
        self.waited.append(time.perf_counter() - began)
        time.sleep(len(requests) / self.rate)
        return [Prediction(request.study_id, Report("x")) for request in requests]


def idle(paths: list[Path], rate: float, ahead: bool) -> tuple[float, float, float]:
    """Return the idle share after the first batch, the longest wait in ms, and total seconds."""
    model = Sleeper(rate)
    requests = [Request(f"s{n}", (Image(f"i{n}", "PA", paths[n % FILES]),)) for n in range(STUDIES)]
    began = time.perf_counter()
    for _ in local.generate(model, requests, BATCH, True, ahead=ahead):
        pass
    taken = time.perf_counter() - began
    waited = model.waited[1:]
    worked = (STUDIES - BATCH) / rate
    return sum(waited) / (sum(waited) + worked), 1000 * max(waited), taken


def main() -> None:
    rate = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    with tempfile.TemporaryDirectory() as folder:
        paths = write_radiographs(Path(folder))
        size = sum(path.stat().st_size for path in paths) / FILES / 1e6
        wall, cpu = [], []
        for path in paths * 4:
            began, worked = time.perf_counter(), time.thread_time()
            read_file(path)
            wall.append(time.perf_counter() - began)
            cpu.append(time.thread_time() - worked)
        load = os.getloadavg()[0]
        print(f"JPEG {WIDTH} × {HEIGHT}, {size:.2f} MB; load of this machine {load:.1f}")
        print(
            f"decode to grey         {1000 * median(cpu):6.1f} ms of a core, median of {len(cpu)}"
        )
        print(f"one core, CPU time     {1 / median(cpu):6.1f} images/s   (target 25)")
        print(f"one thread, wall time  {1 / median(wall):6.1f} images/s   (less on a busy machine)")
        print(f"a model of {rate:g} images/s, {STUDIES} studies in batches of {BATCH}:")
        with_it, without = idle(paths, rate, True), idle(paths, rate, False)
        for name, (share, longest, taken) in (("ahead", with_it), ("not ahead", without)):
            print(
                f"  {name:<10} idle {share:6.1%} after the first batch, longest wait"
                f" {longest:6.1f} ms, {taken:5.1f} s in all"
            )


if __name__ == "__main__":
    main()
