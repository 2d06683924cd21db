"""Compare our batched RadGraph annotator with the `radgraph` package: same weights, one run.

    OMP_NUM_THREADS=1 python -m benchmarks.radgraph [--texts 40] [--repeats 3] [--device cpu|cuda]
                                                    [--weights FOLDER] [--openi data/openi]

Without --weights it makes a random archive of the published size (BERT base, heads of 2 × 150). The
encoder's time does not depend on the values of the weights; the heads' time depends only on how
many relations they list, which is printed. The sides take turns and the best round of each counts,
so that a busy machine slows both alike. Our annotator is also measured with batches of one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reportcard.data.sources.openi import OpenI
from reportcard.metrics.annotators.radgraph import RadGraph
from tests.clinical import radgraph_fixture as fixture

BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", help="cpu or cuda; by default cuda where there is one")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--openi", default="data/openi")
    options = parser.parse_args()
    import torch

    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    references = [study.reference.text() for study in OpenI(options.openi).select().test]
    dedup(references)
    step = max(1, len(references) // options.texts)
    texts = references[::step][: options.texts]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.weights or random_archive(Path(scratch))
        compare(texts, folder, options)


def dedup(references: Sequence[str]) -> None:
    """Print how many readings the cache by content saves.

    The candidates are the references in another order.
    """
    n, unique = len(references), len(set(references))
    print(f"Open-I findings: {n} references, {unique} different: {n - unique} calls saved")
    print(f"  without a cache the first model takes {2 * n} readings; with it, a second model")
    print("  costs only the reading of its own texts")


def random_archive(folder: Path) -> Path:
    encoder = fixture.write_encoder(folder / "encoder", **BASE)
    fixture.write_folder(folder / "radgraph", encoder, "radgraph", hidden=150)
    return folder


def compare(texts: list[str], folder: Path, options: argparse.Namespace) -> None:
    from radgraph import RadGraph as Package

    cuda = options.device.startswith("cuda")

    def ours_with(batch_size: int | None) -> RadGraph:
        settings: dict[str, Any] = {"weights": str(folder), "device": options.device}
        return RadGraph(batch_size=batch_size, **settings)

    with fixture.package_runs():
        package = Package(
            model_type="radgraph", cuda=0 if cuda else -1, model_cache_dir=str(folder)
        )
        ours = ours_with(options.batch_size)
        sides: dict[str, Callable[[], Any]] = {
            "package, one at a time": lambda: package(texts),
            "ours, batched": lambda: ours.annotate(texts),
        }
        alone = ours_with(1)
        sides["ours, batch of one"] = lambda: alone.annotate(texts)
        best = dict.fromkeys(sides, float("inf"))
        for side in sides.values():
            side()  # loads the model and fills its cache of words
        for _ in range(options.repeats):
            for name, side in sides.items():
                best[name] = min(best[name], seconds(side, cuda))
        with contextlib.redirect_stdout(io.StringIO()):
            graphs = package(texts)
        notes = ours.annotate(texts)
    same = sum(
        [list(e.values())[:4] for e in graphs[str(i)]["entities"].values()]
        == [entity[:4] for entity in note["entities"]]
        for i, note in enumerate(notes)
        if note is not None
    )
    report(texts, notes, best, same, options.device)


def seconds(work: Callable[[], Any], cuda: bool) -> float:
    start = time.perf_counter()
    work()
    if cuda:
        import torch

        torch.cuda.synchronize()
    return time.perf_counter() - start


def report(
    texts: list[str], notes: list[Any], best: dict[str, float], same: int, device: str
) -> None:
    """Print the rates.

    Args:
        texts: the reports.
        notes: our notes of them.
        best: seconds of the best round of each side.
        same: how many reports have the same entities as with the package.
        device: cpu or cuda.
    """
    n = len(texts)
    entities = sum(len(note["entities"]) for note in notes)
    relations = sum(len(entity[4]) for note in notes for entity in note["entities"])
    print(
        f"{n} reports of {sum(len(t.split()) for t in texts) / n:.0f} words on {device}, 1 thread"
    )
    print(f"  {entities / n:.0f} entities and {relations / n:.0f} relations per report")
    print(f"  same entities as the package: {same} of {n}")
    slowest = best["package, one at a time"]
    for name, spent in best.items():
        rate = f"{1000 * spent / n:7.1f} ms per report {n / spent:7.1f} reports/s"
        print(f"  {name:24}{rate}   {slowest / spent:5.2f} × the package")


if __name__ == "__main__":
    main()
