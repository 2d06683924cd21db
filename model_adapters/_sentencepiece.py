"""LLaMA's tokenizer by sentencepiece itself.

transformers 5 builds a LlamaTokenizer out of a bare `tokenizer.model` that cuts runs of blanks
differently from sentencepiece and from every earlier version, and indications are full of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reportcard.api import ReportCardError


class Pieces:
    """A `tokenizer.model`. bos and eos are its own ids, `size` the number of its pieces."""

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
        """Ids without bos; a blank is put before the text, as LLaMA's `legacy` tokenizers do."""
        return [int(i) for i in self._model.encode(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text without control tokens."""
        return str(self._model.decode(list(ids)))
