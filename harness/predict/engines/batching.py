"""Which requests share a batch: decided from all of them, so that a resumed run decides alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from reportcard.api import Request
from reportcard.models.staged import Cost


def batches(
    requests: Sequence[Request],
    batch_size: int,
    cost: Callable[[Request], Cost] | None = None,
    exact: bool = False,
) -> list[list[Request]]:
    """Every request once, in batches of at most `batch_size`.

    Without `cost`: in the given order. With it: the dearest first, so that want of memory shows at
    once and the time left is never too hopeful; a batch holds one number of new tokens and of
    images. exact: only requests of one cost share a batch, so nothing is padded.
    """
    if cost is None:
        return _cut(requests, batch_size)
    priced = sorted(((cost(r), r) for r in requests), key=lambda pair: pair[0], reverse=True)
    groups = groupby(priced, key=lambda pair: pair[0] if exact else pair[0][:2])
    return [part for _, group in groups for part in _cut([r for _, r in group], batch_size)]


def _cut(requests: Sequence[Request], size: int) -> list[list[Request]]:
    return [list(requests[start : start + size]) for start in range(0, len(requests), size)]
