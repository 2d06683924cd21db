"""What may go wrong, and be told to the user."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class ReportCardError(Exception):
    """Something the user can act on; the CLI prints the sentence and no traceback."""


class ImageError(ReportCardError):
    """An image that cannot be had: it costs its own study, is counted, and the run goes on.

    kind   missing | outside | empty | truncated | unreadable | bomb | empty_frame | mask
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
