"""Says whose text it is, for pairs and requests outside a run."""

from __future__ import annotations

from collections.abc import Callable

from reportcard.api import Custody, DatasetCard, Progress
from reportcard.core.layout import cache_folder
from reportcard.core.weights import weights_dir


def custody_of(card: DatasetCard, progress: Progress, say: Callable[[str], None]) -> Custody:
    """Return the custody of text outside a run.

    Its notes and verdicts are cached beside the weights, because there is no results folder.
    """
    return Custody(card, cache_folder(weights_dir().parent, card), progress, say)
