"""Checks what reaches a model: no reference, its prompt, and the inputs that its card declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from reportcard.analysis.check.under_test import (
    IMAGES,
    Check,
    ModelUnderTest,
    ask,
    comparable,
    make_ready,
)
from reportcard.api import ImageError, ReportCardError, Request, Study
from reportcard.predict.system import open_model

# The names that models/staged.py uses in Prompt.used.
ALLOWED = frozenset(
    {
        *("frontal", "lateral", "prior_image", "prior_report", "indication", "technique"),
        *("comparison", "phrase", "age", "sex", "marks"),
    }
)
# Names in a card that stand for several inputs.
COVERS = {
    "images": IMAGES,
    "image": IMAGES,
    "prior": frozenset({"prior_image", "prior_report"}),
    "demographics": frozenset({"age", "sex"}),
}


def no_references(model: ModelUnderTest) -> Check:
    """Check that no answer changes with the references, and that no answer is its reference."""
    name = "no references"
    for study in model.few:
        if holds_reference(study.request, study):
            return Check(name, "FAIL", f"the request of {study.study_id} contains its reference")
    if model.adapter.card.sees_references:
        return Check(name, "info", "declared: sees references")
    copied = _copied(model)
    if copied > len(model.few) // 2:
        reason = f"{copied} of {len(model.few)} answers are the reference word for word"
        return Check(name, "FAIL", reason)
    before, kept = model.answers, model.cohort
    adapter = model.adapter
    model.cohort = replace(kept, test=tuple(_changed(study) for study in kept.test))
    try:
        if adapter.card.needs_train:
            adapter = open_model(model.system.plugin, model.cohort).adapter
            make_ready(adapter, model.cohort)
        after = ask(adapter, model.requests, model.batch_size)
    finally:
        model.cohort = kept
    moved = [
        a.study_id for a, b in zip(after, before, strict=True) if comparable(a) != comparable(b)
    ]
    if moved:
        reason = f"{len(moved)} answers changed when the references changed ({moved[0]})"
        return Check(name, "FAIL", f"{reason}; if intended, declare sees_references=True")
    return Check(name, "pass", "no answer changed when all references were changed")


def _changed(study: Study) -> Study:
    return replace(study, reference=replace(study.reference, findings="Changed.", impression=None))


def _copied(model: ModelUnderTest) -> int:
    """Count the answers that equal their reference, unless the train part or prior contains it."""
    known = {study.reference.text() for study in model.cohort.train}
    count = 0
    for study, answer in zip(model.few, model.answers, strict=True):
        reference = study.reference.text()
        prior = study.request.prior
        seen = reference in known or (prior and prior.report and prior.report.text() == reference)
        count += not seen and answer.report.text().split() == reference.split()
    return count


def holds_reference(value: object, study: Study) -> bool:
    """Return whether any text in `value` contains the findings or the impression of the study."""
    prior = study.request.prior.report if study.request.prior else None
    earlier = prior.text(("findings", "impression")) if prior else ""
    wanted = [
        text
        for text in (study.reference.findings, study.reference.impression)
        if text and len(text.split()) > 3 and text not in earlier
    ]
    return any(text in held for held in _texts(value) for text in wanted)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _texts(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from _texts(item)


def prompts(model: ModelUnderTest) -> Check | None:
    """Check the prompt of a model that shows one (a staged or an isolated adapter)."""
    if not callable(getattr(model.adapter, "prompt", None)):
        return None
    problem = prompt_problem(model.adapter, model.few)
    if problem:
        return Check("prompt", "FAIL", problem)
    return Check("prompt", "pass", "the same each time, no reference in it, declared inputs only")


def prompt_problem(adapter: Any, studies: Sequence[Study]) -> str | None:
    """Return what is wrong with the prompts of these studies, or None. Needs no weights.

    A prompt must be the same each time, contain no reference, and contain the indication where the
    card declares it; `used` must use the names of models/staged.py; a study without images must
    raise an ImageError.
    """
    for study in studies:
        request = study.request
        prompt = adapter.prompt(request)
        if prompt != adapter.prompt(request):
            return f"{study.study_id}: prompt() gave two different prompts for one request"
        if holds_reference(prompt.text, study):
            return f"{study.study_id}: the prompt contains the reference"
        indication = request.indication
        if _lacks(prompt.text, indication) and "indication" in adapter.card.inputs:
            return f"{study.study_id}: the card declares the indication, but the prompt lacks it"
        if unknown := set(prompt.used) - ALLOWED:
            return f"used names unknown inputs: {_listed(unknown)}; known: {_listed(ALLOWED)}"
        if prompt.max_new_tokens < 1:
            return f"max_new_tokens is {prompt.max_new_tokens}"
    if adapter.card.needs_pixels or IMAGES & set(adapter.card.inputs):
        return _without_images(adapter, studies[0].request)
    return None


def _lacks(prompt: str, indication: str | None) -> bool:
    return bool(indication) and str(indication).rstrip(".") not in prompt


def _without_images(adapter: Any, request: Request) -> str | None:
    bare = replace(request, images=(), prior=None)
    try:
        getattr(adapter, "prepare", adapter.prompt)(bare)
    except (ImageError, ReportCardError):
        return None
    except Exception as error:
        return f"a study without images raises {type(error).__name__}, not an ImageError"
    return "a study without images is prepared as if it had one; raise ImageError"


def card(model: ModelUnderTest) -> Check:
    """Check that the card is complete and that its inputs are those that the answers used."""
    name, declared = "card", model.adapter.card
    absent = [] if declared.description.strip() else ["description"]
    if declared.kind == "model":  # our floors and ceilings were trained on nothing
        absent += [field for field in ("licence", "trained_on") if not getattr(declared, field)]
    if absent:
        reason = f"the card has no {' and no '.join(absent)}"
        return Check(name, "FAIL", f"{reason}; if the authors do not say, write so")
    used = {word for answer in model.answers for word in answer.used}
    covered = {word for entry in declared.inputs for word in (entry, *COVERS.get(entry, ()))}
    if undeclared := used - covered:
        return Check(
            name, "FAIL", f"answers used {_listed(undeclared)}, which the card does not declare"
        )
    offered = {word for study in model.few for word in _offered(study.request)}
    idle = [
        entry
        for entry, names in ((e, {e, *COVERS.get(e, ())}) for e in declared.inputs)
        if names & offered and not names & used
    ]
    if idle:
        reason = f"the card declares {_listed(idle)}, but no answer lists it in Prediction.used"
        return Check(name, "FAIL", reason)
    return Check(name, "pass", f"inputs: {', '.join(declared.inputs) or 'none'}")


def _offered(request: Request) -> Iterator[str]:
    """Yield the names of the inputs that this request has."""
    if request.images:
        yield from ("images", "image", "frontal")
    if any(image.lateral for image in request.images):
        yield "lateral"
    if request.prior:
        yield from ("prior", "prior_image", "prior_report")
    for name in ("indication", "technique", "comparison", "age", "sex", "phrase"):
        if getattr(request, name) is not None:
            yield name


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
