"""Runs the `radgraph` package in batches: entities and relations of reports.

Tokenizer, encoder and heads are the package's own. The graphs equal those of radgraph.RadGraph,
which reads one document at a time (tests/clinical/test_radgraph.py compares them).

A note is {"entities": [[tokens, label, start, end, [[relation, target], …]], …]}: word positions
with both ends included; `target` is an index into entities. {"cut": n} is added when only the first
`max_words` of n words were read. A text without a word has no entity.

The package is older than transformers 5, which removed two tokenizer methods; `_Shim` adds them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import json
import pickle
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Literal

from reportcard.api import Json, ReportCardError
from reportcard.metrics.annotators import _radgraph_archive as archive
from reportcard.metrics.annotators._radgraph_model import Reader

NOTE_VERSION = "1"
MODEL_TYPES = ("radgraph", "radgraph-xl", "modern-radgraph-xl")
GENERIC_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")  # its 4.x and its 5.x name
WORDS_REMEMBERED = 2**16


class RadGraph:
    """Makes the graphs of texts.

    Args:
        model_type: radgraph (the original), radgraph-xl or modern-radgraph-xl.
        weights: <model_type>.tar.gz, its unpacked folder, or a folder with one of them; None: where
            `reportcard fetch weights radgraph` puts it.
        encoder: a folder with config.json and tokenizer of the encoder; None: the Hugging Face
            cache or hub, under the name in the archive's config.
        device: cpu, cuda or cuda:N; None: CUDA where there is one.
        batch_size: reports per pass; None: by device.
        special_tokens: whether [CLS] and [SEP] reach the encoder. None: as the package does on
            transformers 4, where they do not for a tokenizer of the generic fast class.
        max_words: a longer text is read up to here, and its note says so.
    """

    scope: Literal["text"] = "text"

    def __init__(
        self,
        model_type: str = "radgraph",
        weights: str | None = None,
        encoder: str | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        special_tokens: bool | None = None,
        max_words: int = 2000,
    ) -> None:
        if model_type not in MODEL_TYPES:
            known = ", ".join(MODEL_TYPES)
            raise ReportCardError(f"RadGraph has no model '{model_type}'; it has {known}.")
        if max_words < 1 or (batch_size is not None and batch_size < 1):
            raise ReportCardError(f"{model_type}: max_words and batch_size must be at least 1.")
        self.id = model_type
        self._option = "weights." + model_type.replace("-", "_")
        self._given = weights
        self._encoder = encoder
        self._device = device
        self._batch_size = batch_size
        self._special_tokens = special_tokens
        self._max_words = max_words
        self._reader: Reader | None = None

    def missing(self) -> str | None:
        for package in ("radgraph", "torch", "transformers"):
            if importlib.util.find_spec(package) is None:
                return f"package {package} missing, run: pip install 'cxr-reportcard[clinical]'"
        if archive.locate(self._given, self.id) is not None:
            return None
        if self._given:
            return f"weights missing: no {self.id} archive at {self._option}={self._given}"
        return f"weights missing, run: reportcard fetch weights radgraph (or {self._option}=/path)"

    @cached_property
    def weights(self) -> str | None:
        path = archive.locate(self._given, self.id)
        return None if path is None else archive.content_digest(path)

    @cached_property
    def version(self) -> str:
        """Return a version with the tokenizer's class, which decides on [CLS] and [SEP]."""
        parts = [NOTE_VERSION, f"radgraph {_version('radgraph')}"]
        parts += [f"transformers {_version('transformers').split('.')[0]}", self._tokenizer_class()]
        if self._special_tokens is not None:
            parts.append(f"special tokens {'on' if self._special_tokens else 'off'}")
        return "|".join([*parts, f"max words {self._max_words}"])

    def annotate(self, items: Sequence[str]) -> list[Json | None]:
        reader = self._reader = self._reader or self._load()
        documents = [reader.document(i, text, self._max_words) for i, text in enumerate(items)]
        notes: list[Json | None] = [{"entities": []} for _ in items]
        for document, entities in reader.graphs(documents):
            note: Json = {"entities": entities}
            if document.n_words > self._max_words:
                note["cut"] = document.n_words
            notes[document.place] = None if entities is None else note
        return notes

    def close(self) -> None:
        if self._reader is None:
            return
        on_cuda = self._reader.device.startswith("cuda")
        self._reader = None
        from radgraph.allennlp.common import cached_transformers

        cached_transformers._model_cache.clear()  # the package keeps a second copy of the encoder
        if on_cuda:
            import torch

            torch.cuda.empty_cache()

    def _tokenizer_class(self) -> str:
        """The tokenizer's class as the encoder's tokenizer_config.json names it, read alone."""
        path = archive.locate(self._given, self.id)
        if path is None:
            return "no tokenizer"
        name = self._encoder or archive.encoder_name(archive.read_config(path), path)
        file = Path(name) / "tokenizer_config.json"
        if not file.is_file():
            if importlib.util.find_spec("huggingface_hub") is None:
                return "unknown tokenizer"
            from huggingface_hub import try_to_load_from_cache

            found = try_to_load_from_cache(name, file.name) if name.count("/") < 2 else None
            if not isinstance(found, str):
                return "unknown tokenizer"
            file = Path(found)
        return str(json.loads(file.read_text("utf-8")).get("tokenizer_class", "unnamed tokenizer"))

    def _load(self) -> Reader:
        problem = self.missing()
        path = archive.locate(self._given, self.id)
        if problem or path is None:
            raise ReportCardError(f"{self.id}: {problem}")
        with tempfile.TemporaryDirectory(prefix="reportcard-radgraph-") as folder, _quiet():
            target = Path(folder) / self.id
            archive.unpack(path, self.id, target, self._encoder)
            encoder = archive.encoder_name(archive.read_config(target, path), path)
            import torch
            from radgraph import RadGraph as Package

            try:
                with _Shim(self._special_tokens).installed():
                    # On the CPU first, whatever the device: only there the package reads the
                    # checkpoint with weights_only=True.
                    package = Package(cuda=-1, model_type=self.id, model_cache_dir=folder)
            except pickle.UnpicklingError as error:
                why = str(error).split("\n")[0]
                raise ReportCardError(f"{path}: weights.th is no checkpoint: {why}") from None
            except (OSError, EOFError, ValueError) as error:
                raise ReportCardError(f"{path} (encoder {encoder}): {_line(error)}") from None
            except Exception as error:  # the package raises errors of any kind, without the path
                raise ReportCardError(f"{path} does not fit {self.id}: {_line(error)}") from None
            device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
            return Reader(package, device, self._batch_size)


@dataclass(frozen=True)
class _Shim:
    """Adds encode_plus and build_inputs_with_special_tokens to the package's tokenizers."""

    special_tokens: bool | None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        from radgraph.allennlp.common import cached_transformers

        original, cache = cached_transformers.get_tokenizer, cached_transformers._tokenizer_cache
        cache.clear()  # a tokenizer loaded before may have other methods
        cached_transformers.get_tokenizer = lambda *args, **kwargs: self.apply(
            original(*args, **kwargs)
        )
        try:
            yield
        finally:
            cached_transformers.get_tokenizer = original
            cache.clear()

    def apply(self, tokenizer: Any) -> Any:
        if "encode_plus" in vars(tokenizer):
            return tokenizer
        encode = getattr(tokenizer, "encode_plus", tokenizer.__call__)

        # The package encodes each word of each report alone, and reports share most words.
        @functools.lru_cache(WORDS_REMEMBERED)
        def remembered(text: str, pair: str | None, options: tuple[tuple[str, Any], ...]) -> Any:
            return encode(text, pair, **dict(options))

        def encode_plus(text: str, text_pair: str | None = None, **options: Any) -> Any:
            return remembered(text, text_pair, tuple(sorted(options.items())))

        tokenizer.encode_plus = encode_plus
        special = self.special_tokens
        if special is None:
            if hasattr(tokenizer, "build_inputs_with_special_tokens"):
                return tokenizer
            # On transformers 4 the generic fast class adds no [CLS], while the package assumes one,
            # so each word is read one piece too late. Published scores were computed so.
            special = type(tokenizer).__name__ not in GENERIC_TOKENIZERS
        first = [tokenizer.cls_token_id] if special else []
        last = [tokenizer.sep_token_id] if special else []
        tokenizer.build_inputs_with_special_tokens = lambda ids: [*first, *ids, *last]
        return tokenizer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the package, which prints its device and turns on deprecation warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        yield


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]


def _version(package: str) -> str:
    try:
        return package_version(package)
    except PackageNotFoundError:
        return "absent"
