"""Measure RadCliQ for a second model on a cohort whose references are cached.

Target: at most 60 % of the time of the first model. The weights are random in the published shapes
(the time does not depend on their values). The three annotators run through the harness's annotate
stage and its cache in one process; seconds are CPU seconds. Both models answer with other Open-I
reports, so no candidate of one model is a reference or a candidate of the other.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.bertscore import make_weights
from benchmarks.data import texts
from reportcard.annotate import Cache, attach_notes
from reportcard.api import Pair
from reportcard.config.compose import load_annotators, load_metrics, load_protocol
from reportcard.core.progress import quiet
from reportcard.score.scorer import open_metrics
from tests.clinical import chexbert_fixtures, radgraph_fixture


def overrides(root: Path, reports: list[str]) -> list[str]:
    """Write random BERT-base and distilroberta checkpoints; return the overrides that name them."""
    state = chexbert_fixtures.random_state(chexbert_fixtures.BASE)
    chexbert = chexbert_fixtures.write_checkpoint(root / "chexbert.pth", state)
    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    encoder = radgraph_fixture.write_encoder(root / "bert", intermediate_size=3072, **sizes)
    folder = radgraph_fixture.write_folder(root / "unpacked" / "radgraph", encoder, "radgraph")
    make_weights(root / "distilroberta-base", reports)
    return [
        f"weights.chexbert={chexbert}",
        f"weights.chexbert_vocab={chexbert_fixtures.bert_vocab()}",
        f"weights.radgraph={folder}",
        f"weights.bertscore={root / 'distilroberta-base'}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=100)
    n = parser.parse_args().studies
    reports = list(dict.fromkeys(texts()))[: 3 * n]
    references, models = reports[:n], (reports[n : 2 * n], reports[2 * n :])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REPORTCARD_CACHE"] = folder
        protocol = load_protocol("reportcard")
        chosen = overrides(Path(folder), reports)
        (scorer,) = open_metrics(load_metrics(["radcliq"], protocol), load_annotators(chosen))
        assert scorer.not_run is None, scorer.not_run
        cache = Cache(Path(folder) / "notes.sqlite")
        seconds: list[list[float]] = []
        for candidates in models:
            pairs = [[Pair("", c, r) for c, r in zip(candidates, references, strict=True)]]
            each = []
            for annotator in scorer.annotators:
                began = time.process_time()
                attach_notes([annotator], pairs, cache, quiet)
                each.append(time.process_time() - began)
            words = sum(len(c.split()) for c in candidates)
            print(f"a model's {n} candidates: {words:,} words", flush=True)
            seconds.append(each)
    print(f"{'CPU seconds':24}{'first':>9}{'second':>9}{'ratio':>8}")
    for annotator, first, second in zip(scorer.annotators, *seconds, strict=True):
        print(f"{annotator.id:24}{first:9.1f}{second:9.1f}{second / first:8.0%}")
    first, second = (sum(each) for each in seconds)
    print(f"{'RadCliQ':24}{first:9.1f}{second:9.1f}{second / first:8.0%}   (target 60 %)")


if __name__ == "__main__":
    main()
