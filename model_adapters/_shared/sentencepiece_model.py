"""Reads LLaMA's `tokenizer.model` with sentencepiece itself.

transformers 5 splits runs of blanks differently from sentencepiece and from every earlier version
when it builds a LlamaTokenizer from a bare `tokenizer.model`, and indications are full of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reportcard.api import ReportCardError


class SentencePieceModel:
    """SentencePieceModel is a `tokenizer.model`: its bos and eos ids, and its number of pieces."""

    def __init__(self, path: Path) -> None:
        try:
            import sentencepiece
        except ImportError:
            raise ReportCardError(
                "sentencepiece is not installed, run: pip install 'cxr-reportcard[gpu]'"
                " (make setup-gpu)"
            ) from None
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError):
            raise ReportCardError(f"{path} is no sentencepiece model.") from None
        self.bos, self.eos = int(self._model.bos_id()), int(self._model.eos_id())
        self.size = int(self._model.vocab_size())

    def encode(self, text: str) -> list[int]:
        """Return ids without bos; like LLaMA's `legacy` tokenizers, put a blank before the text."""
        return [int(i) for i in self._model.encode(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text without control tokens."""
        return str(self._model.decode(list(ids)))
