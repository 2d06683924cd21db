"""Compare our one pass of CheXbert with f1chexbert's loop and a second pass for embeddings.

    OMP_NUM_THREADS=1 python -m benchmarks.chexbert --n 100          (2 × 100 texts, on the CPU)
    python -m benchmarks.chexbert --n 2461 --cuda-only               (on a GPU)

All ways use the same random weights of BERT-base size, the same texts and one thread. They take
turns on blocks of texts, so that other work on the machine slows all of them alike. References are
the findings of n Open-I studies, candidates those of n others. The texts of Open-I are fetched into
data/openi if they are not there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from benchmarks.data import texts as open_i_texts
from reportcard.metrics.annotators.chexbert import Chexbert
from tests.clinical import chexbert_fixtures as fixtures

PADDED_BATCH = 32


def cohort(n: int) -> list[str]:
    """Return n references and n candidates, in turns."""
    texts = open_i_texts()
    others = (texts[n:] * (1 + n // max(1, len(texts) - n)))[:n]
    return [text for pair in zip(texts[:n], others, strict=False) for text in pair]


class Clock:
    """Adds up wall-clock and CPU seconds for each way."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    def time(self, way: str, work: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.wall[way] = self.wall.get(way, 0.0) + time.perf_counter() - wall
        self.cpu[way] = self.cpu.get(way, 0.0) + time.process_time() - cpu
        return result


def on_cpu(texts: list[str], block: int, checkpoint: Path, vocab: Path, folder: Path) -> None:
    """Time every way on the CPU and print a table.

    Args:
        texts: references and candidates in turns.
        block: texts per turn.
        checkpoint: the random weights.
        vocab: the vocab.txt of bert-base-uncased.
        folder: a folder for files of f1chexbert.
    """
    import pandas as pd
    import torch
    from f1chexbert.f1chexbert import tokenize

    torch.set_num_threads(1)
    single = Chexbert(str(checkpoint), str(vocab), "cpu", tokens_per_batch=1)
    packed = Chexbert(str(checkpoint), str(vocab), "cpu")
    for ours in (single, packed):
        ours.annotate(["warm up"])
    clock, agree, unique = Clock(), 0, 0
    with (
        fixtures.upstream_f1chexbert(folder / "up", checkpoint, vocab, fixtures.BASE) as upstream,
        torch.inference_mode(),
    ):

        def labels(part: list[str]) -> list[list[Any]]:
            return [upstream.get_label(text, "classification") for text in part]

        def embeddings(part: list[str]) -> None:
            for text in part:
                ids = torch.tensor(tokenize(pd.Series([text]), upstream.tokenizer))
                _ = upstream.model.bert(ids)[0][:, 0]

        def padded(part: list[str]) -> None:
            for start in range(0, len(part), PADDED_BATCH):
                ids = packed.tokenise(part[start : start + PADDED_BATCH])
                longest = max(map(len, ids))
                batch = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
                upstream.model(batch, (batch != 0).long())

        upstream.get_label("warm up")
        for start in range(0, len(texts), block):
            part = texts[start : start + block]
            once = list(dict.fromkeys(part))
            unique += len(once)
            theirs = clock.time("labels", lambda part=part: labels(part))
            clock.time("embeddings", lambda part=part: embeddings(part))
            clock.time("padded", lambda part=part: padded(part))
            clock.time("single", lambda part=part: single.annotate(part))
            notes = clock.time("packed", lambda part=part: packed.annotate(part))
            clock.time("unique", lambda once=once: packed.annotate(once))
            codes = {"": 0, 1: 1, 0: 2, -1: 3}
            agree += sum(
                [codes[label] for label in t] == n["labels"]
                for t, n in zip(theirs, notes, strict=True)
            )
            sys.stderr.write(f"\r{min(start + block, len(texts))}/{len(texts)} texts")
    sys.stderr.write("\n")
    report(clock, texts, unique, agree)


def report(clock: Clock, texts: list[str], unique: int, agree: int) -> None:
    """Print rates and factors.

    Args:
        clock: the seconds of each way.
        texts: all texts.
        unique: how many were labelled where each block's repeats are left out.
        agree: for how many texts ours and f1chexbert give the same labels.
    """
    for seconds in (clock.wall, clock.cpu):
        seconds["both"] = seconds["labels"] + seconds["embeddings"]
    lines = (
        ("both", "f1chexbert's loop, then a second pass for embeddings"),
        ("labels", "f1chexbert's loop alone (labels, no embeddings)"),
        ("padded", f"one padded pass of upstream's model, batches of {PADDED_BATCH} as they come"),
        ("single", "ours, one text at a time"),
        ("packed", "ours, batches without padding"),
        ("unique", "ours, without padding, each text once"),
    )
    print(f"{len(texts)} texts, {unique} once per block; same labels for {agree}\n")
    print(f"{'texts/s':>8} {'wall':>8} {'speed-up':>9} {'in CPU time':>12}")
    for way, name in lines:
        wall, cpu = clock.wall[way], clock.cpu[way]
        faster, of_cpu = clock.wall["both"] / wall, clock.cpu["both"] / cpu
        print(f"{len(texts) / wall:8.2f} {wall:7.1f}s {faster:8.2f}x {of_cpu:11.2f}x  {name}")
    wall = clock.wall
    print("\nfactors (wall clock)")
    print(f"  {wall['both'] / wall['labels']:.2f}x  one pass for labels and embeddings")
    print(f"  {wall['labels'] / wall['single']:.2f}x  last layer for [CLS] only, no BertModel")
    print(f"  {wall['single'] / wall['packed']:.2f}x  batches without padding")
    print(f"  {wall['packed'] / wall['unique']:.2f}x  each text once")
    print(f"  {wall['padded'] / wall['packed']:.2f}x  ours beside the padded batches")


def on_cuda(texts: list[str], checkpoint: Path, vocab: Path) -> None:
    """Compare batches of one text with full batches on the GPU."""
    import torch

    print(f"\n{torch.cuda.get_device_name()}, float16")
    for name, tokens, part in (("batch of 1", 1, texts[:400]), ("batched", None, texts)):
        ours = Chexbert(str(checkpoint), str(vocab), "cuda", tokens_per_batch=tokens)
        ours.annotate(part[:64])
        start = time.perf_counter()
        ours.annotate(part)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        print(f"{len(part) / seconds:9.0f} texts/s  {name} ({len(part)} texts)")
        ours.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="studies; twice as many texts")
    parser.add_argument("--block", type=int, default=100, help="texts per turn")
    parser.add_argument("--cuda-only", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")

    import torch

    vocab = fixtures.bert_vocab()
    if vocab is None:
        sys.exit("no vocab.txt of bert-base-uncased: set BERT_VOCAB")
    texts = cohort(options.n)
    whole = open_i_texts()[:2461]
    print(f"{len(whole)} references of Open-I hold {len(set(whole))} different texts")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = fixtures.write_checkpoint(
            folder / "chexbert.pth", fixtures.random_state(fixtures.BASE)
        )
        if not options.cuda_only:
            on_cpu(texts, options.block, checkpoint, vocab, folder)
        if torch.cuda.is_available():
            on_cuda(texts, checkpoint, vocab)
        else:
            print("\nno CUDA device: GPU figures not measured")


if __name__ == "__main__":
    main()
