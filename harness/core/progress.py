"""Shows progress: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Batch = TypeVar("Batch", bound=Sized)
LINE_EVERY_S = 10.0


def track(batches: Iterable[Batch], total: int, label: str) -> Iterator[Batch]:
    """Yield the batches unchanged while showing how many of `total` items are done."""
    if total and sys.stderr.isatty():
        yield from _bar(batches, total, label)
    else:
        yield from _lines(batches, total, label)


def quiet(batches: Iterable[Batch], total: int, label: str) -> Iterable[Batch]:
    """Return the batches and show nothing."""
    return batches


def _bar(batches: Iterable[Batch], total: int, label: str) -> Iterator[Batch]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("  {task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total, rate="")
        done, began = 0, time.monotonic()
        for batch in batches:
            done += len(batch)
            rate = done / max(time.monotonic() - began, 1e-9)
            progress.update(task, completed=done, rate=f"{rate:,.0f}/s")
            yield batch


def _lines(batches: Iterable[Batch], total: int, label: str) -> Iterator[Batch]:
    began = last = time.monotonic()
    done = 0
    for batch in batches:
        done += len(batch)
        yield batch
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            rate = done / (now - began)
            left = (total - done) / rate if rate else 0
            print(
                f"  {label}: {done:,}/{total:,} ({done / max(total, 1):.0%}),"
                f" {rate:,.1f}/s, {left:,.0f} s left",
                file=sys.stderr,
                flush=True,
            )
