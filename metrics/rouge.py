"""ROUGE-1, ROUGE-2 and ROUGE-L are averaged over studies as per-report F.

    rouge_score   Google's rouge_score: lower case, everything but a-z and 0-9 is a blank, F1 of
                  n-grams and of the LCS; `stem` applies NLTK's Porter stemmer to words longer
                  than three letters (off: LLaVA-Rad, Hugging Face; on: RadEval, vilmedic)
    coco          pycocoevalcap Rouge: split at single blanks, cased, LCS F with beta 1.2 (ROUGE-L)

An empty text scores 0. Upstream's coco gives two empty texts 1.0, which nobody would notice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from reportcard.api import Array, Key, MetricSpec, Pair, ReportCardError
from reportcard.metrics._ngrams import (
    TokenIds,
    Tokeniser,
    chunks,
    clipped_matches,
    f_measure,
    lcs_lengths,
    ngram_totals,
)

BETA_COCO = 1.2  # pycocoevalcap rouge/rouge.py
_WORD = re.compile(r"[a-z0-9]+")


def tokens_rouge_score(text: str) -> list[str]:
    """Split a text into the words of rouge_score's tokenizer, without stemming.

    >>> tokens_rouge_score("No pleural-effusion.")
    ['no', 'pleural', 'effusion']
    """
    return _WORD.findall(text.lower())


def tokens_stemmed(text: str) -> list[str]:
    """Split a text into the words of rouge_score's tokenizer with use_stemmer=True."""
    return [_stem(word) if len(word) > 3 else word for word in tokens_rouge_score(text)]


@cache
def _stemmer() -> Callable[[str], str]:
    from nltk.stem.porter import PorterStemmer

    stem: Callable[[str], str] = PorterStemmer().stem
    return stem


@cache
def _stem(word: str) -> str:
    return _stemmer()(word)


def tokens_coco(text: str) -> list[str]:
    """Split a text at single blanks; an empty text has no token (upstream: one empty token)."""
    return text.split(" ") if text else []


class Rouge:
    """ROUGE F has the rows [r1, r2, rL, 1] of per-report values, or [rL, 1] for coco."""

    def __init__(self, variant: str = "rouge_score", stem: bool = False) -> None:
        if variant not in ("rouge_score", "coco"):
            raise ReportCardError(f"ROUGE has no variant '{variant}'; rouge_score, coco.")
        self.coco = variant == "coco"
        names: tuple[str, ...]
        if self.coco:
            names, tokenise = ("rouge_l",), tokens_coco
            signature = f"pycocoevalcap|tok:blank|case:mixed|beta:{BETA_COCO}"
        else:
            names = ("rouge_1", "rouge_2", "rouge_l")
            tokenise = tokens_stemmed if stem else tokens_rouge_score
            signature = f"rouge_score|stem:{'porter' if stem else 'no'}|F1"
        self.spec = MetricSpec("1", {name: Key() for name in names}, signature, group="lexical")
        self._tokeniser = Tokeniser(tokenise)

    def rows(self, pairs: Sequence[Pair]) -> Array:
        if not pairs:
            return np.empty((0, len(self.spec.keys) + 1))
        return np.concatenate([self._rows(chunk) for chunk in chunks(pairs)])

    def _rows(self, pairs: Sequence[Pair]) -> Array:
        candidate = self._tokeniser.encode([pair.candidate for pair in pairs])
        reference = self._tokeniser.encode([pair.reference for pair in pairs])
        beta = BETA_COCO if self.coco else 1.0
        columns = [] if self.coco else self._ngram_columns(candidate, reference)
        lcs = lcs_lengths(candidate, reference)
        columns.append(f_measure(lcs, candidate.lengths, reference.lengths, beta))
        return np.column_stack([*columns, np.ones(len(pairs))])

    def _ngram_columns(self, candidate: TokenIds, reference: TokenIds) -> list[Array]:
        matches = clipped_matches(candidate, reference, 2, len(self._tokeniser.vocabulary))
        have, want = ngram_totals(candidate.lengths, 2), ngram_totals(reference.lengths, 2)
        return [f_measure(matches[:, k], have[:, k], want[:, k]) for k in range(2)]

    def scores(self, total: Array) -> dict[str, Array]:
        n = total[..., -1]
        return {
            name: np.divide(total[..., i], n, out=np.full_like(n, np.nan), where=n > 0)
            for i, name in enumerate(self.spec.keys)
        }
