"""Counts clipped n-gram matches and longest common subsequences for thousands of pairs at once.

Tokens become integers, and so do the n-grams of one order: previous code × vocabulary + next token,
made dense again by np.unique. So the clipped matches of all pairs take two sorts and a search.
Nothing is hashed, so the counts are exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reportcard.api import Array, Pair

Ints = npt.NDArray[np.int64]
CHUNK = 20_000  # pairs held as integers at once: bounds memory, keeps time linear


@dataclass(frozen=True, slots=True)
class TokenIds:
    """The token ids of n texts, concatenated, and the length of each text."""

    ids: Ints
    lengths: Ints


class Tokeniser:
    """Turns texts into token ids. Each different text is tokenised once; references repeat."""

    MOST_TEXTS = 100_000

    def __init__(self, tokenise: Callable[[str], list[str]]) -> None:
        self._tokenise = tokenise
        self._texts: dict[str, Ints] = {}
        self.vocabulary: defaultdict[str, int] = defaultdict()
        self.vocabulary.default_factory = self.vocabulary.__len__  # a new token gets the next id

    def encode(self, texts: Sequence[str]) -> TokenIds:
        """Return the token ids of texts."""
        if len(self._texts) > self.MOST_TEXTS:
            self._texts.clear()
            self.vocabulary.clear()
        arrays = [self._encode(text) for text in texts]
        lengths = np.fromiter((len(a) for a in arrays), np.int64, len(arrays))
        return TokenIds(np.concatenate(arrays) if arrays else np.empty(0, np.int64), lengths)

    def _encode(self, text: str) -> Ints:
        known = self._texts.get(text)
        if known is None:
            ids = map(self.vocabulary.__getitem__, self._tokenise(text))
            known = self._texts[text] = np.array(list(ids), np.int64)
        return known


def chunks(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    """Yield the pairs in slices, which bound the memory."""
    for start in range(0, len(pairs), CHUNK):
        yield pairs[start : start + CHUNK]


def clipped_matches(a: TokenIds, b: TokenIds, orders: int, vocabulary: int) -> Ints:
    """Return the clipped n-gram matches per pair and order: shape (n, orders).

    Args:
        a: one text of each pair.
        b: the other text of each pair.
        orders: the largest n of an n-gram.
        vocabulary: how many token ids there are.
    """
    n = len(a.lengths)
    matches = np.zeros((n, orders), np.int64)
    ids = np.concatenate([a.ids, b.ids])
    pair = np.concatenate([_owner(a.lengths), _owner(b.lengths)])
    left = np.concatenate([_remaining(a.lengths), _remaining(b.lengths)])
    position = np.arange(len(ids))
    from_a = len(a.ids)
    codes, code_of = ids, ids.copy()
    for order in range(1, orders + 1):
        keep = left[position] >= order  # n-grams that end inside their own text
        position, codes = position[keep], codes[keep]
        if not len(position):
            break
        if order > 1:
            codes = codes * vocabulary + code_of[position + order - 1]
            codes = np.unique(codes, return_inverse=True)[1]
        keys = pair[position] * (int(codes.max()) + 1) + codes
        in_a = position < from_a
        keys_a, count_a = np.unique(keys[in_a], return_counts=True)
        keys_b, count_b = np.unique(keys[~in_a], return_counts=True)
        common, at_a, at_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
        owner = common // (int(codes.max()) + 1)
        shared = np.minimum(count_a[at_a], count_b[at_b])
        matches[:, order - 1] = np.bincount(owner, weights=shared, minlength=n).astype(np.int64)
    return matches


def ngram_totals(lengths: Ints, orders: int) -> Ints:
    """Return the number of n-grams per text and order: shape (n, orders)."""
    totals: Ints = np.maximum(lengths[:, None] - np.arange(orders), 0)
    return totals


def lcs_lengths(a: TokenIds, b: TokenIds) -> Ints:
    """Return the length of the longest common subsequence of tokens of each pair."""
    from rapidfuzz.distance import LCSseq
    from rapidfuzz.process import cpdist

    # rapidfuzz is fastest on strings: one character per token, numbered densely in this chunk.
    dense = np.unique(np.concatenate([a.ids, b.ids]), return_inverse=True)[1]
    as_text = _characters(dense)
    return cpdist(
        _split(as_text[: len(a.ids)], a.lengths),
        _split(as_text[len(a.ids) :], b.lengths),
        scorer=LCSseq.similarity,
        dtype=np.int64,
    )


def f_measure(overlap: Ints, candidate: Ints, reference: Ints, beta: float = 1.0) -> Array:
    """Return F_beta of precision and recall, and 0 where nothing overlaps.

    Args:
        overlap: tokens or n-grams that both texts have; precision is overlap / candidate.
        candidate: those of the candidate.
        reference: those of the reference; recall is overlap / reference.
        beta: how much more recall counts.
    """
    precision = overlap / np.maximum(candidate, 1)
    recall = overlap / np.maximum(reference, 1)
    denominator = recall + beta**2 * precision
    score: Array = np.divide(
        (1 + beta**2) * precision * recall,
        denominator,
        out=np.zeros(len(overlap)),
        where=denominator > 0,
    )
    return score


def _owner(lengths: Ints) -> Ints:
    return np.repeat(np.arange(len(lengths)), lengths)


def _remaining(lengths: Ints) -> Ints:
    """For each token, how many tokens of its text follow, itself included."""
    ends = np.cumsum(lengths)
    return np.repeat(ends, lengths) - np.arange(int(lengths.sum()))


def _characters(ids: Ints) -> str:
    codes = np.where(ids < 0xD800, ids, ids + 0x800).astype(
        "<u4"
    )  # skip the surrogates, which are not characters
    return codes.tobytes().decode("utf-32-le")


def _split(text: str, lengths: Ints) -> list[str]:
    ends = np.cumsum(lengths)
    return [text[e - k : e] for e, k in zip(ends.tolist(), lengths.tolist(), strict=True)]
