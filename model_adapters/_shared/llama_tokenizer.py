"""Opens a LLaMA tokenizer with the tokens that a checkpoint adds to it.

    tokenizer.json                       is read by `tokenizers`, as LlamaTokenizerFast does
    tokenizer.model, added_tokens.json   the text is split at the added tokens, and sentencepiece
                                         tokenises the parts, as the slow LlamaTokenizer of
                                         transformers 4.36 to 4.51 did

transformers is not used: version 5 splits runs of blanks differently with a bare tokenizer.model,
and AutoTokenizer asks a question on standard input when the folder has an auto_map.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from reportcard.api import ReportCardError
from reportcard.core.files import read_json
from reportcard.model_adapters._shared.sentencepiece_model import SentencePieceModel

BLANK = "▁"  # sentencepiece's mark of a blank
SPECIALS = ("<unk>", "<s>", "</s>")
LINE = "\n"  # no piece of LLaMA's contains it, so it never merges with the text after it


class LlamaTokenizer(Protocol):
    """LlamaTokenizer encodes prompts and decodes answers.

    bos and eos are ids; `added` maps each added token that is not a control token to its id.
    """

    bos: int
    eos: int
    added: dict[str, int]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text after bos."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text with added tokens and without control tokens."""
        ...


def open_llama_tokenizer(folder: Path) -> LlamaTokenizer:
    """Open the tokenizer of a checkpoint. Raises ReportCardError if its files cannot be read."""
    if (folder / "tokenizer.json").is_file():
        return JsonTokenizer(folder)
    return SentencePieceTokenizer(folder)


class JsonTokenizer:
    """JsonTokenizer reads tokenizer.json. It adds bos itself; the post-processor is not used."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise ReportCardError(
                "tokenizers is not installed, run: pip install 'cxr-reportcard[gpu]'"
            ) from None
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception:  # the library raises a bare Exception
            raise ReportCardError(f"{path} is no tokenizer of the `tokenizers` library.") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        bos, eos = (self._tokenizer.token_to_id(name) for name in ("<s>", "</s>"))
        if bos is None or eos is None:
            raise ReportCardError(f"{path} has no <s> and </s>: not LLaMA's.")
        self.bos, self.eos = int(bos), int(eos)
        self.added = {
            token.content: int(number)
            for number, token in self._tokenizer.get_added_tokens_decoder().items()
            if token.content not in SPECIALS
        }

    def encode(self, text: str) -> list[int]:
        return [self.bos, *self._tokenizer.encode(text, add_special_tokens=False).ids]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


class SentencePieceTokenizer:
    """SentencePieceTokenizer reads tokenizer.model and the tokens added to it.

    If `legacy` of tokenizer_config.json is true or absent, each part between added tokens gets a
    blank before it. Otherwise only the whole text does, unless it starts with a control token.
    """

    def __init__(self, folder: Path) -> None:
        self._pieces = SentencePieceModel(folder / "tokenizer.model")
        config = _json(folder / "tokenizer_config.json")
        self.bos, self.eos = self._pieces.bos, self._pieces.eos
        self._legacy = config.get("legacy") is not False
        self.added = {
            name: number for name, number in _added(folder, config).items() if name not in SPECIALS
        }
        self._specials = {"<unk>": 0, "<s>": self.bos, "</s>": self.eos}
        self._ids = {**self._specials, **self.added}
        self._names = {number: name for name, number in self.added.items()}
        longest = sorted(self._ids, key=len, reverse=True)
        self._cut = re.compile("(" + "|".join(map(re.escape, longest)) + ")")
        self._line = self._pieces.encode(LINE)
        self._line_text = self._pieces.decode(self._line)

    def encode(self, text: str) -> list[int]:
        if not self._legacy:
            text = text.replace(BLANK, " ")
            if not text.startswith(tuple(self._specials)):
                text = " " + text
        ids = [self.bos]
        for part in self._cut.split(text):
            if part in self._ids:
                ids.append(self._ids[part])
            elif part:
                ids += self._pieces.encode(part) if self._legacy else self._encode_part(part)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text, run = "", list[int]()
        for token in [*ids, self.bos]:
            if token in self._names or token in self._specials.values():
                text += self._decode_run(run) + self._names.get(token, "")
                run = []
            else:
                run.append(token)
        return text.removeprefix(" ")

    def _encode_part(self, part: str) -> list[int]:
        """Encode a part without a blank before it."""
        ids = self._pieces.encode(LINE + part)
        head = len(self._line)
        if ids[:head] != self._line:
            raise ReportCardError("tokenizer.model has a piece with a line break: not LLaMA's.")
        return ids[head:]

    def _decode_run(self, run: list[int]) -> str:
        """Decode a run of pieces and keep the blank before it, which sentencepiece drops."""
        known = [i for i in run if i < self._pieces.size]
        return self._pieces.decode([*self._line, *known])[len(self._line_text) :] if known else ""


def _added(folder: Path, config: dict[str, Any]) -> dict[str, int]:
    """Read the added tokens of added_tokens.json and tokenizer_config.json, which must agree."""
    found: dict[str, int] = {}
    listed = config.get("added_tokens_decoder")
    try:
        for number, token in (listed or {}).items():
            found[str(token["content"])] = int(number)
        for name, number in _json(folder / "added_tokens.json").items():
            if found.setdefault(str(name), int(number)) != int(number):
                raise ReportCardError(
                    f"{folder}: {name} is {number} in added_tokens.json and {found[str(name)]} in"
                    " tokenizer_config.json."
                )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ReportCardError(f"{folder}: the added tokens cannot be read.") from None
    return found


def _json(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}
