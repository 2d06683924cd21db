"""Checks of the answers themselves: whatever shares a batch, asked again, and valid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from reportcard.analysis.check.under_test import Check, Subject, said
from reportcard.api import ModelAdapter, Prediction, Request, Status
from reportcard.core.files import canonical
from reportcard.models.staged import StagedAdapter, resolved_dtype
from reportcard.predict.engines.failures import explain, out_of_memory
from reportcard.predict.engines.job import batches
from reportcard.predict.predictions_file import to_json


def batches_and_order(subject: Subject) -> Check:
    """The same text alone, in pairs, all together and in reversed order."""
    name, requests = "batches and order", subject.requests
    alone = subject.ask(requests, 1)
    arrangements = {
        "in pairs": subject.ask(requests, 2),
        "all at once": subject.ask(requests, len(requests)),
        "reversed": subject.ask(requests[::-1], 2)[::-1],
    }
    told = []
    for how, answers in arrangements.items():
        different = [a for a, b in zip(answers, alone, strict=True) if said(a) != said(b)]
        if different:
            told.append(f"{how} {len(different)} of {len(alone)} ({different[0].study_id})")
    if not told:
        return Check(name, "pass", f"{len(alone)} studies: alone, in pairs, all, reversed")
    reason = f"other answers than alone: {', '.join(told)}"
    if half_precision(subject.adapter):
        # The order of additions in a kernel follows the batch: known, and told by its size.
        return Check(name, "told", f"half precision on CUDA, not judged; {reason}")
    return Check(name, "FAIL", reason)


def half_precision(adapter: ModelAdapter) -> bool:
    """Whether it runs in 16 bits on a GPU, where the last bits depend on the batch."""
    if not isinstance(adapter, StagedAdapter) or resolved_dtype(adapter) == "float32":
        return False
    if adapter.device != "auto":
        return adapter.device.startswith("cuda")
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def valid(subject: Subject) -> Check:
    """Every study is answered once, in order, and each answer can be stored and read."""
    name = "valid answers"
    problem = _direct(subject.adapter, subject.requests, subject.batch_size)
    if problem:
        return Check(name, "FAIL", problem)
    for answer in subject.answers:
        if problem := invalid(answer):
            return Check(name, "FAIL", f"{answer.study_id}: {problem}")
    return Check(name, "pass", f"{len(subject.answers)} answers")


def _direct(adapter: ModelAdapter, requests: Sequence[Request], size: int) -> str | None:
    """generate() as it is: the engine would repair a batch by asking one by one."""
    for batch in batches(requests, size, getattr(adapter, "cost", None)):
        try:
            answers = list(adapter.generate(batch))
        except Exception as error:
            if out_of_memory(error):
                continue
            return f"a batch of {len(batch)} raised: {explain(error, quote=True)}"
        asked = [(r.study_id, r.draw) for r in batch]
        given = [
            (a.study_id, a.draw) if isinstance(a, Prediction) else type(a).__name__ for a in answers
        ]
        if asked != given:
            return f"generate() was asked for {asked[:3]} and answered {given[:3]}"
    return None


def invalid(answer: Prediction) -> str | None:
    """What is wrong with an answer; None: nothing."""
    report = answer.report
    if answer.status == "failed":
        return f"failed: {answer.error or 'and does not say why'}"
    if answer.status not in get_args(Status):
        return f"status {answer.status!r} is none of {', '.join(get_args(Status))}"
    for field, text in (("findings", report.findings), ("impression", report.impression)):
        if not isinstance(text, str | None):
            return f"{field} is {type(text).__name__}, neither text nor None"
    if not isinstance(answer.raw, str):
        return f"raw is {type(answer.raw).__name__}, not text"
    for phrase in report.phrases:
        for box in phrase.boxes:
            corners = (box.x_min, box.y_min, box.x_max, box.y_max)
            inside = all(isinstance(c, int | float) and math.isfinite(c) for c in corners)
            if not (inside and 0 <= corners[0] < corners[2] <= 1 >= corners[3] > corners[1] >= 0):
                return f"a box is not in [0, 1]: {corners}"
    written = bool(report.text(("findings", "impression")).strip() or report.phrases)
    if answer.status == "ok" and not written:
        return "status ok without any text; say empty"
    if answer.status == "empty" and written:
        return "status empty with a text"
    if not all(isinstance(word, str) for word in answer.used):
        return "used holds something else than names of inputs"
    try:
        canonical(to_json(answer)).encode("utf-8")
    except (TypeError, ValueError) as error:
        return f"it cannot be stored: {' '.join(str(error).split())[:120]}"
    return None
