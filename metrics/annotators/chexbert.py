"""CheXbert gives 14 observation labels and the [CLS] embedding of a report in one forward pass.

    note = {"labels": [14 of 0 blank, 1 positive, 2 negative, 3 uncertain], "cls": base64 float32}

The labeler is that of Smit et al. 2020 (stanfordmlgroup/CheXbert): BERT-base-uncased with 14 linear
heads on [CLS]; "No Finding" has the codes 0 and 1 only. F1-CheXbert reads the labels, and RadCliQ's
SembScore the embedding. Texts are tokenised as upstream does (CheXbert bert_tokenizer.py,
f1chexbert 0.0.2): stripped, white space collapsed, word pieces, at most 512 ids.

The last digits of an embedding depend on the batch in which it was computed (about 1e-6).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from reportcard.api import Json, ReportCardError, pack_floats
from reportcard.core.weights import hub_cached, weights_missing, weights_path
from reportcard.metrics._bert import ClsEncoder, Shape
from reportcard.metrics._checkpoint import checkpoint_digest, load_checkpoint

OBSERVATIONS = 14
CODES = (4,) * 13 + (2,)  # classes per head; the last is No Finding
MAX_IDS = 512
# google-bert/bert-base-uncased vocab.txt: another vocabulary would give other labels without an
# error.
VOCAB_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
VOCAB_SIZE = 30522
# On a CPU a batch should use the weights for a few hundred tokens at least and still fit into the
# cache; on a GPU it should fill the device.
TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 65536}


class Chexbert:
    """Labels and embeds reports.

    Args:
        weights: the path of chexbert.pth; None: where `reportcard fetch weights chexbert` puts it.
        vocab: the path of vocab.txt of bert-base-uncased; None: likewise.
        device: auto, cpu, cuda or cuda:N.
        tokens_per_batch: padded tokens of a batch; None: TOKENS_PER_BATCH.
    """

    id = "chexbert"
    scope: Literal["text", "pair"] = "text"

    def __init__(
        self,
        weights: str | None = None,
        vocab: str | None = None,
        device: str = "auto",
        tokens_per_batch: int | None = None,
    ) -> None:
        if device != "auto" and not re.fullmatch(r"cpu|cuda(:\d+)?", device):
            raise ReportCardError(f"chexbert: device is auto, cpu, cuda or cuda:N, not '{device}'.")
        if tokens_per_batch is not None and tokens_per_batch < 1:
            raise ReportCardError("chexbert: tokens_per_batch is a positive number.")
        self.path = (
            Path(weights).expanduser() if weights else weights_path("chexbert", "chexbert.pth")
        )
        self._vocab = vocab
        self._device = device
        self._tokens_per_batch = tokens_per_batch
        self._model: _Labeler | None = None
        self._tokenizer: Any = None

    @property
    def weights(self) -> str | None:
        return checkpoint_digest(self.path)

    @property
    def version(self) -> str:
        # Half precision may change a label whose logits are close, so its notes have another
        # version.
        return "1" if self._on() == "cpu" else "1-fp16"

    def missing(self) -> str | None:
        if not self.path.is_file():
            return weights_missing("chexbert", self.path)
        if self._vocab_file() is None:
            return (
                "vocab.txt of bert-base-uncased missing, run: reportcard fetch weights chexbert"
                " (or annotator.chexbert.vocab=/path/to/vocab.txt)"
            )
        for package in ("torch", "tokenizers"):
            if find_spec(package) is None:
                return f"{package} is not installed, run: pip install 'cxr-reportcard[clinical]'"
        return None

    def annotate(self, items: Sequence[str]) -> list[Json | None]:
        ids = self.tokenise(items)
        if self._model is None:
            self._model = _Labeler(self.path, self._on())
        budget = self._tokens_per_batch or TOKENS_PER_BATCH[self._on().partition(":")[0]]
        notes: list[Json | None] = [None] * len(items)
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))  # the largest batch comes first
        while order:
            # The first text of the order is the longest one, so the padded size is known.
            size = max(1, budget // len(ids[order[0]]))
            batch, order = order[:size], order[size:]
            made = self._model.try_batch([ids[i] for i in batch])
            if made is None:  # out of memory: try half of the batch
                if len(batch) == 1:
                    raise ReportCardError(
                        f"chexbert: {self._on()} has no memory for one text of"
                        f" {len(ids[batch[0]])} tokens. Free some, or annotator.chexbert.device=cpu"
                    )
                budget = len(batch) // 2 * len(ids[batch[0]])
                order = batch + order
                continue
            for i, note in zip(batch, made, strict=True):
                notes[i] = note
        return notes

    def close(self) -> None:
        self._model = self._tokenizer = None
        if self._on() != "cpu":
            import torch

            torch.cuda.empty_cache()

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, [CLS] first and [SEP] last, at most 512."""
        if self._tokenizer is None:
            self._tokenizer = _word_pieces(self._vocab_file())
        encoded = self._tokenizer.encode_batch([_clean(text) for text in texts])
        return [
            ids if len(ids) <= MAX_IDS else [*ids[: MAX_IDS - 1], ids[-1]]
            for ids in (e.ids for e in encoded)
        ]

    def _on(self) -> str:
        if self._device == "auto":
            import torch

            self._device = "cuda" if torch.cuda.is_available() else "cpu"
        return self._device

    def _vocab_file(self) -> Path | None:
        if self._vocab:
            path = Path(self._vocab).expanduser()
            return path if path.is_file() else None
        fetched = weights_path("chexbert", "vocab.txt")
        return fetched if fetched.is_file() else hub_cached("vocab.txt")


class _Labeler:
    """The checkpoint on a device, after each of its tensors was checked."""

    def __init__(self, path: Path, device: str) -> None:
        import torch

        state = checked_state(path)
        dtype = torch.float32 if device == "cpu" else torch.float16
        try:
            self.encode = ClsEncoder(
                {k[5:]: v for k, v in state.items() if k.startswith("bert.")}, device, dtype
            )
        except torch.OutOfMemoryError:
            raise ReportCardError(
                f"chexbert: {device} has no memory for the model (0.3 GB). Free some, or"
                " annotator.chexbert.device=cpu"
            ) from None
        # The heads are small and decide the labels, so they stay in float32.
        heads = range(OBSERVATIONS)
        self._weight = torch.cat([state[f"linear_heads.{i}.weight"].float() for i in heads])
        self._bias = torch.cat([state[f"linear_heads.{i}.bias"].float() for i in heads])

    def try_batch(self, ids: Sequence[Sequence[int]]) -> list[Json | None] | None:
        """Return notes, or None when the device ran out of memory."""
        import torch

        try:
            cls = self.encode(ids)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return None
        logits = torch.nn.functional.linear(cls, self._weight, self._bias)
        labels = torch.stack([part.argmax(1) for part in logits.split(CODES, 1)], 1).tolist()
        finite = logits.isfinite().all(1).tolist()
        return [
            {"labels": codes, "cls": pack_floats(vector)} if good else None
            for codes, vector, good in zip(labels, cls.numpy(), finite, strict=True)
        ]


def checked_state(path: Path) -> dict[str, Any]:
    """Return the tensors of a CheXbert checkpoint without the `module.` of DataParallel.

    Raises ReportCardError with the path and what is wrong. Upstream loads with strict=False, so a
    wrong file leaves random weights in the model, which then labels as if nothing had happened.
    """
    loaded = load_checkpoint(path)

    def refuse(what: str) -> ReportCardError:
        return ReportCardError(f"{path} is not a CheXbert checkpoint: {what}.")

    tensors = loaded.get("model_state_dict")
    if not isinstance(tensors, dict):
        raise refuse(f"no model_state_dict in it, only {_names(loaded)}")
    state = {str(key).removeprefix("module."): value for key, value in tensors.items()}
    state.pop("bert.embeddings.position_ids", None)  # a counter that some versions store
    try:
        shape = Shape.of({k[5:]: v for k, v in state.items() if k.startswith("bert.")})
    except KeyError as error:
        raise refuse(f"it lacks bert.{str(error).strip(chr(39))}") from None
    except (ValueError, IndexError, AttributeError) as error:
        raise refuse(f"its tensors have no shape of a BERT ({error})") from None
    expected = {f"bert.{name}": size for name, size in shape.parameters().items()}
    for i, codes in enumerate(CODES):
        expected[f"linear_heads.{i}.weight"] = (codes, shape.hidden)
        expected[f"linear_heads.{i}.bias"] = (codes,)
    if lacking := expected.keys() - state.keys():
        raise refuse(f"it lacks {_names(lacking)}")
    if extra := state.keys() - expected.keys():
        raise refuse(f"it has tensors that CheXbert has not: {_names(extra)}")
    for name, size in expected.items():
        found = tuple(getattr(state[name], "shape", ()))
        if found != size:
            raise refuse(f"{name} has the shape {found}, expected {size}")
    if shape.vocabulary != VOCAB_SIZE:
        raise refuse(
            f"its vocabulary has {shape.vocabulary} entries, bert-base-uncased has {VOCAB_SIZE}"
        )
    if shape.positions != MAX_IDS or shape.hidden % 64:
        raise refuse(f"{shape.positions} positions of size {shape.hidden}; expected 512 of 64·n")
    for name, tensor in state.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise refuse(f"{name} holds values that are not finite numbers")
    return state


def _names(keys: Any) -> str:
    """At most three names, and how many more."""
    names = sorted(str(key) for key in keys)
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest if names else "nothing"


def _clean(text: str) -> str:
    # A broken JSON escape leaves half a surrogate pair, which the tokenizer does not take. It drops
    # the character that replaces it.
    return re.sub(r"[\ud800-\udfff]", "\ufffd", " ".join(text.split()))


def _word_pieces(path: Path | None) -> Any:
    """The uncased BERT tokenizer over this vocabulary file."""
    from tokenizers.implementations import BertWordPieceTokenizer

    if path is None:
        raise ReportCardError("vocab.txt of bert-base-uncased is missing.")
    if checkpoint_digest(path) != VOCAB_SHA256:
        raise ReportCardError(
            f"{path} is not the vocabulary of bert-base-uncased (sha256 {VOCAB_SHA256[:16]}…)."
        )
    return BertWordPieceTokenizer(str(path), lowercase=True)
