"""BERTScore of a pair is the greedy matching of contextual token embeddings.

For unit-length token vectors x (candidate) and y (reference) of one encoder layer, and weights u, w
that sum to 1 (equal, or IDF; [CLS] and [SEP] have weight 0 but may be matched):

    P = Σ u_i max_j x_i·y_j      R = Σ w_j max_i x_i·y_j      F = 2PR / (P + R)

A note is {"p", "r", "f"}, not rescaled: the metric applies the baseline. Compared with the
reference implementation (bert-score 0.3.13 bert_score/utils.py):

- as there, texts are stripped and cut at the model's limit, and an empty one gives P = R = F = 0; -
repeated blanks become one, as RadCliQ does (CXR-Report-Metric CXRMetric/run_eval.py); this changes
  byte pairs, but not word pieces;
- a RoBERTa tokenizer reads the text with a blank before it. The package asked slow tokenizers to do
  so; fast ones ignore the request and give other scores (bert_score issue 147);
- no score depends on the padding of its batch. The package gives a padded token the similarity 0,
  which raises a maximum that is negative.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from reportcard.api import Json, ReportCardError
from reportcard.metrics.annotators._encoder import TextEncoder, digest_of, find_folder
from reportcard.metrics.annotators._idf import IdfCorpus
from reportcard.metrics.annotators._token_store import TokenStore, cache_root

NAMES = {
    "distilroberta-base": "bertscore_distilroberta",
    "distilbert-base-uncased": "bertscore_distilbert",
}
LAYER = 5  # bert_score model2layers, for both models
PAIRS_HELD = 256  # pairs matched at a time, which bounds the embeddings in memory
_BLANKS = re.compile(r" +")

Item = tuple[str, str]


class BertscoreAnnotator:
    """Computes the raw BERTScore of pairs; each different text of a call is embedded once.

    Args:
        model: its name on the hub (NAMES, or any BERT-like encoder with `weights`).
        layer: the hidden layer whose vectors are matched.
        weights: a folder in the Hugging Face layout; None: the ReportCard cache.
        add_prefix_space: whether a RoBERTa tokenizer reads a blank before the text.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1".
        idf_corpus: an IdfCorpus, or {"name", "path"} of one text a line; None: equal weights.
        store: where embeddings of references are kept for the next model: a folder, "auto" (the
            ReportCard cache on a CPU; nowhere on a GPU, which embeds faster than a disk reads), or
            None (nowhere).
    """

    scope: Literal["pair"] = "pair"

    def __init__(
        self,
        model: str = "distilroberta-base",
        layer: int = LAYER,
        weights: str | None = None,
        add_prefix_space: bool = True,
        device: str = "auto",
        idf_corpus: IdfCorpus | Mapping[str, str] | None = None,
        store: str | None = "auto",
    ) -> None:
        if layer < 1:
            raise ReportCardError(f"BERTScore needs a hidden layer ≥ 1, not {layer}.")
        self.model, self.layer, self.device = model, layer, device
        self.add_prefix_space = add_prefix_space
        self.idf = idf_corpus if isinstance(idf_corpus, IdfCorpus) else IdfCorpus.load(idf_corpus)
        self._given = Path(weights).expanduser() if weights else None
        self._store = store
        self._encoder: TextEncoder | None = None

    @property
    def id(self) -> str:
        """Name the variant, because a pair may have notes of two variants."""
        parts = [NAMES.get(self.model) or "bertscore_" + re.sub(r"\W+", "_", self.model.lower())]
        if self.layer != LAYER:
            parts.append(f"l{self.layer}")
        if not self.add_prefix_space:
            parts.append("noprefix")
        if self.idf is not None:
            parts.append(f"idf_{self.idf.name}")
        return "_".join(parts)

    @property
    def version(self) -> str:
        idf = "none" if self.idf is None else self.idf.fingerprint
        return f"1|layer:{self.layer}|prefix:{'yes' if self.add_prefix_space else 'no'}|idf:{idf}"

    @cached_property
    def weights(self) -> str | None:
        """Return the sha256 of the model's files: weights, configuration and vocabulary."""
        folder = self._folder()
        return None if folder is None else digest_of(folder)

    def missing(self) -> str | None:
        try:
            import torch  # noqa: F401
            import transformers  # noqa: F401
        except ImportError as error:
            return f"{error.name} missing, run: pip install 'cxr-reportcard[clinical]'"
        if self._folder() is None:
            place = f" (no {self.model} in {self._given})" if self._given else ""
            return (
                "weights missing, run: reportcard fetch weights bertscore"
                f" (or weights.bertscore=/path){place}"
            )
        return None

    def _folder(self) -> Path | None:
        return find_folder(self._given or cache_root() / "weights" / "bertscore", self.model)

    def _load(self) -> TextEncoder:
        if self._encoder is None:
            folder = self._folder()
            if folder is None:
                raise ReportCardError(f"{self.id}: {self.missing()}.")
            self._encoder = TextEncoder(folder, self.layer, self.add_prefix_space, self.device)
        return self._encoder

    def annotate(self, items: Sequence[Item]) -> list[Json | None]:
        if not items:
            return []
        encoder = self._load()
        texts = list(dict.fromkeys(text for item in items for text in item))
        ids = dict(zip(texts, encoder.tokenise([_clean(t) for t in texts]), strict=True))
        weigh = self._weights(encoder)
        order = sorted(range(len(items)), key=lambda i: max(len(ids[t]) for t in items[i]))
        uses = Counter(text for item in items for text in item)
        held: dict[str, Any] = {}
        notes: list[Json | None] = [None] * len(items)
        with self._open_store(encoder) as store:
            for start in range(0, len(order), PAIRS_HELD):
                block = order[start : start + PAIRS_HELD]
                pairs = [items[i] for i in block]
                self._embed(pairs, ids, held, encoder, store)
                matched = encoder.match(
                    [(held[c], held[r], weigh(ids[c]), weigh(ids[r])) for c, r in pairs]
                )
                for i, (p, r) in zip(block, matched, strict=True):
                    if not (math.isfinite(p) and math.isfinite(r)):
                        continue  # unscored; a half-precision overflow must not be cached
                    notes[i] = {"p": p, "r": r, "f": 2 * p * r / (p + r) if p + r else 0.0}
                uses.subtract(text for pair in pairs for text in pair)
                held = {text: vectors for text, vectors in held.items() if uses[text]}
        return notes

    def _embed(
        self,
        pairs: Sequence[Item],
        ids: Mapping[str, list[int]],
        held: dict[str, Any],
        encoder: TextEncoder,
        store: TokenStore,
    ) -> None:
        """Add the embeddings that these pairs need to `held`; references are read from the store.

        Only references are stored: other models are scored against them, whereas the score of a
        candidate is cached, so the candidate is not embedded again.
        """
        references = {reference for _, reference in pairs} - held.keys()
        known = store.get([t for t in references if t])
        held |= {text: encoder.tensor(array) for text, array in known.items()}
        new = [t for t in dict.fromkeys(t for pair in pairs for t in pair) if t not in held]
        made = encoder.embed([ids[text] for text in new])
        held |= zip(new, made, strict=True)
        store.put((t, encoder.array(held[t])) for t in new if t in references)

    def _weights(self, encoder: TextEncoder) -> Callable[[Iterable[int]], list[float]]:
        special = encoder.special
        if self.idf is None:
            return lambda ids: [0.0 if i in special else 1.0 for i in ids]
        corpus = self.idf
        documents = len(corpus.texts)
        frequency = Counter(
            i for ids in encoder.tokenise([_clean(t) for t in corpus.texts]) for i in set(ids)
        )
        # As bert_score get_idf_dict. [CLS] and [SEP] are in every document, so they weigh log 1 =
        # 0.
        return lambda ids: [math.log((documents + 1) / (frequency[i] + 1)) for i in ids]

    def _open_store(self, encoder: TextEncoder) -> TokenStore:
        place = self._store
        if place == "auto":
            place = str(cache_root() / "embeddings") if encoder.device.type == "cpu" else None
        if place is None:
            return TokenStore(None, encoder.width)
        # The name has everything that decides an embedding, which IDF does not.
        variant = f"l{self.layer}{'' if self.add_prefix_space else '-noprefix'}"
        name = f"{self.model.replace('/', '--')}-{(self.weights or '')[:16]}-{variant}.sqlite"
        return TokenStore(Path(place) / name, encoder.width)

    def close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


def _clean(text: str) -> str:
    """The text with single blanks; a lone surrogate, which no tokenizer takes, becomes "?"."""
    return _BLANKS.sub(" ", text).strip().encode("utf-8", "replace").decode("utf-8")
