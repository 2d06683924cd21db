"""Checks the answers: are they valid, and do they depend on what else is in the batch?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from reportcard.analysis.check.under_test import Check, ModelUnderTest, comparable
from reportcard.api import ModelAdapter, Prediction, Request, Status
from reportcard.core.files import canonical
from reportcard.models.staged import StagedAdapter, resolved_dtype
from reportcard.predict.engines.failures import explain, out_of_memory
from reportcard.predict.engines.job import batches
from reportcard.predict.predictions_file import to_json


def batches_and_order(model: ModelUnderTest) -> Check:
    """Check that each study gets the same answer alone, in pairs, all at once and reversed."""
    name, requests = "batches and order", model.requests
    alone = model.ask(requests, 1)
    arrangements = {
        "in pairs": model.ask(requests, 2),
        "all at once": model.ask(requests, len(requests)),
        "reversed": model.ask(requests[::-1], 2)[::-1],
    }
    found = []
    for how, answers in arrangements.items():
        different = [
            a for a, b in zip(answers, alone, strict=True) if comparable(a) != comparable(b)
        ]
        if different:
            found.append(f"{how} {len(different)} of {len(alone)} ({different[0].study_id})")
    if not found:
        return Check(name, "pass", f"{len(alone)} studies: alone, in pairs, all, reversed")
    reason = f"answers differ from those of single studies: {', '.join(found)}"
    if half_precision(model.adapter):
        # The order of additions in a kernel depends on the batch, so differences are only reported.
        return Check(name, "info", f"half precision on CUDA, not judged; {reason}")
    return Check(name, "FAIL", reason)


def half_precision(adapter: ModelAdapter) -> bool:
    """Return whether the model runs in 16 bits on a GPU, where rounding depends on the batch."""
    if not isinstance(adapter, StagedAdapter) or resolved_dtype(adapter) == "float32":
        return False
    if adapter.device != "auto":
        return adapter.device.startswith("cuda")
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def valid(model: ModelUnderTest) -> Check:
    """Check that every study is answered once, in order, and that each answer can be stored."""
    name = "valid answers"
    problem = _direct(model.adapter, model.requests, model.batch_size)
    if problem:
        return Check(name, "FAIL", problem)
    for answer in model.answers:
        if problem := invalid(answer):
            return Check(name, "FAIL", f"{answer.study_id}: {problem}")
    return Check(name, "pass", f"{len(model.answers)} answers")


def _direct(adapter: ModelAdapter, requests: Sequence[Request], size: int) -> str | None:
    """Call generate() directly, since the engine would repair a batch by asking one by one."""
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
    """Return what is wrong with an answer, or None."""
    report = answer.report
    if answer.status == "failed":
        return f"failed: {answer.error or 'no reason given'}"
    if answer.status not in get_args(Status):
        return f"status {answer.status!r} is not one of {', '.join(get_args(Status))}"
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
        return "status is ok but the report has no text; use status empty"
    if answer.status == "empty" and written:
        return "status is empty but the report has text"
    if not all(isinstance(word, str) for word in answer.used):
        return "used must hold names of inputs only"
    try:
        canonical(to_json(answer)).encode("utf-8")
    except (TypeError, ValueError) as error:
        return f"it cannot be stored: {' '.join(str(error).split())[:120]}"
    return None
