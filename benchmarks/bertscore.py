"""Compare our BERTScore with the bert-score package, and measure a second model on a cohort.

    python -m benchmarks.bertscore [--reports 300] [--data data/openi]

The weights are random in the shape of distilroberta-base (the time does not depend on their values)
with byte pairs trained on the Open-I texts; --weights FOLDER takes real ones. Both sides use the
same weights in one run, and loading is not counted. Seconds are CPU seconds of the process, which
other work on the machine changes less. Candidates are other reports of Open-I, so that no candidate
is also a reference.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reportcard.data.sources.openi import OpenI
from reportcard.metrics.annotators.bertscore import BertscoreAnnotator

Pairs = list[tuple[str, str]]


def make_weights(folder: Path, texts: Sequence[str]) -> None:
    """Write a random RoBERTa of 6 layers and width 768 with a byte-pair vocabulary of `texts`."""
    import torch
    import transformers
    from tokenizers import ByteLevelBPETokenizer

    tokens = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens.train_from_iterator(texts, 8000, special_tokens=special, show_progress=False)
    folder.mkdir(parents=True)
    tokens.save_model(str(folder))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    config = transformers.RobertaConfig(
        vocab_size=tokens.get_vocab_size(),
        num_hidden_layers=6,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    torch.manual_seed(0)
    transformers.RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)


def package_scores(folder: Path, pairs: Pairs) -> tuple[float, list[float]]:
    """Return CPU seconds and F1 of bert-score's own functions.

    Its tokenizer is set up here, because its own set-up does not work with transformers 5.
    """
    import transformers
    from bert_score.utils import bert_cos_score_idf, get_model

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, add_prefix_space=True)
    model = get_model(str(folder), 5)
    weights = _Ones({tokenizer.cls_token_id: 0.0, tokenizer.sep_token_id: 0.0})
    start = time.process_time()
    found = bert_cos_score_idf(
        model, [r for _, r in pairs], [c for c, _ in pairs], tokenizer, weights, device="cpu"
    )
    return time.process_time() - start, found[:, 2].tolist()


class _Ones(dict[int, float]):
    def __missing__(self, key: int) -> float:
        return 1.0


def our_scores(folder: Path, pairs: Pairs, store: Path | None) -> tuple[float, list[float], int]:
    """Return CPU seconds, F1, and the number of tokens that went through the model."""
    annotator = BertscoreAnnotator(
        weights=str(folder), device="cpu", store=None if store is None else str(store)
    )
    encoder = annotator._load()
    tokens, forward = [0], encoder._forward

    def counted(ids: Sequence[list[int]]) -> list[Any]:
        tokens[0] += sum(len(row) for row in ids)
        return forward(ids)

    encoder._forward = counted  # type: ignore[method-assign]
    start = time.process_time()
    notes = annotator.annotate(pairs)
    seconds = time.process_time() - start
    annotator.close()
    return seconds, [note["f"] for note in notes if note is not None], tokens[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reports", type=int, default=300)
    parser.add_argument("--data", default="data/openi")
    parser.add_argument("--weights", help="a folder of distilroberta-base; random without it")
    options = parser.parse_args()
    import torch

    source = OpenI(options.data)
    if source.missing():
        sys.exit(source.missing())
    findings = [study.reference.findings or "" for study in source.select().test]
    texts = [" ".join(text.split()) for text in dict.fromkeys(findings)]
    n = min(options.reports, len(texts) // 3)
    references, one, two = (texts[k : 3 * n : 3] for k in range(3))
    first, second = (list(zip(texts, references, strict=True)) for texts in (one, two))

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.weights or Path(temporary) / "weights" / "distilroberta-base")
        if not options.weights:
            make_weights(folder, findings)
        store = Path(temporary) / "store"
        theirs, reference_f = package_scores(folder, first)
        plain, f, all_tokens = our_scores(folder, first, None)
        difference = max(abs(a - b) for a, b in zip(f, reference_f, strict=True))
        stored, _, _ = our_scores(folder, first, store)
        again, _, new_tokens = our_scores(folder, second, store)
        without, _, _ = our_scores(folder, second, None)
        megabytes = sum(p.stat().st_size for p in store.iterdir()) / 1e6
    load = os.getloadavg()[0]
    print(f"{n} pairs, {2 * n} texts, {torch.get_num_threads()} thread(s), load {load:.1f}")
    print(f"bert-score package        {theirs:6.1f} s  {2 * n / theirs:5.1f} texts/s")
    print(f"ours, no store            {plain:6.1f} s  {2 * n / plain:5.1f} texts/s")
    print(f"  largest difference of F between the two: {difference:.1e}")
    print(
        f"ours, store, first model  {stored:6.1f} s  {all_tokens} tokens, store {megabytes:.0f} MB"
    )
    print(f"ours, store, second       {again:6.1f} s  {new_tokens} tokens, {again / stored:.0%}")
    print(f"ours, no store, second    {without:6.1f} s  {without / plain:.0%}")


if __name__ == "__main__":
    main()
