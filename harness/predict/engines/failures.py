"""Turns an exception of a plugin into one line of a report card, without quoting report text."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from reportcard.api import ImageError, Prediction, Report, ReportCardError, Request


def failed(request: Request, reason: str) -> Prediction:
    """Return the answer of a study that could not be answered."""
    return Prediction(request.study_id, Report(), status="failed", error=reason, draw=request.draw)


def explain(error: Exception, quote: bool) -> str:
    """Describe an exception in one line of at most 500 characters, with file and line number.

    quote: include the exception's message. It may contain report text, so it is included for open
    data only.
    """
    if isinstance(error, ImageError):
        return f"image {error.kind}: {error}"
    if isinstance(error, ReportCardError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    message = f": {' '.join(str(error).split())}" if quote else _system_message(error)
    return f"{type(error).__name__}{message}"[:500] + where


def _system_message(error: Exception) -> str:
    """Return the operating system's text for an OSError, which never contains report text."""
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return f": {os.strerror(error.errno)}"
    return ""


def out_of_memory(error: BaseException) -> bool:
    """Return whether the device ran out of memory (torch.OutOfMemoryError or CUDA's own text)."""
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and "CUDA out of memory" in str(error)
