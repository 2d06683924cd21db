"""Checks of what reaches a model: no reference, the prompt it shows, and what its card declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from reportcard.analysis.check.under_test import IMAGES, Check, Subject, ask, make_ready, said
from reportcard.api import ImageError, ReportCardError, Request, Study
from reportcard.predict.system import open_model

# As harness/staged.py's Prompt names them.
ALLOWED = frozenset(
    {
        *("frontal", "lateral", "prior_image", "prior_report", "indication", "technique"),
        *("comparison", "phrase", "age", "sex", "marks"),
    }
)
# What a card may say for several of them at once.
COVERS = {
    "images": IMAGES,
    "image": IMAGES,
    "prior": frozenset({"prior_image", "prior_report"}),
    "demographics": frozenset({"age", "sex"}),
}


def no_references(subject: Subject) -> Check:
    """With every reference of the cohort changed the answers stay, and none is a reference."""
    name = "no references"
    for study in subject.few:
        if holds_reference(study.request, study):
            return Check(name, "FAIL", f"the request of {study.study_id} holds its reference")
    if subject.adapter.card.sees_references:
        return Check(name, "told", "declared: sees references")
    copied = _copied(subject)
    if copied > len(subject.few) // 2:
        reason = f"{copied} of {len(subject.few)} answers are the reference word for word"
        return Check(name, "FAIL", reason)
    before, kept = subject.answers, subject.cohort
    adapter = subject.adapter
    subject.cohort = replace(kept, test=tuple(_changed(study) for study in kept.test))
    try:
        if adapter.card.needs_train:
            adapter = open_model(subject.system.plugin, subject.cohort).adapter
            make_ready(adapter, subject.cohort)
        after = ask(adapter, subject.requests, subject.batch_size)
    finally:
        subject.cohort = kept
    moved = [a.study_id for a, b in zip(after, before, strict=True) if said(a) != said(b)]
    if moved:
        reason = f"with other references {len(moved)} answers changed ({moved[0]})"
        return Check(name, "FAIL", f"{reason}; if it may see them, say so: sees_references=True")
    return Check(name, "pass", "all references changed, and no answer")


def _changed(study: Study) -> Study:
    return replace(study, reference=replace(study.reference, findings="Changed.", impression=None))


def _copied(subject: Subject) -> int:
    """Answers that are their own reference, where neither train part nor prior could give it."""
    known = {study.reference.text() for study in subject.cohort.train}
    count = 0
    for study, answer in zip(subject.few, subject.answers, strict=True):
        reference = study.reference.text()
        prior = study.request.prior
        seen = reference in known or (prior and prior.report and prior.report.text() == reference)
        count += not seen and answer.report.text().split() == reference.split()
    return count


def holds_reference(value: object, study: Study) -> bool:
    """Whether any text within is, or holds, the findings or the impression of the study."""
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


def prompts(subject: Subject) -> Check | None:
    """The prompt of a model in stages, or of one in an environment of its own; others show none."""
    if not callable(getattr(subject.adapter, "prompt", None)):
        return None
    problem = prompt_problem(subject.adapter, subject.few)
    if problem:
        return Check("prompt", "FAIL", problem)
    return Check("prompt", "pass", "the same each time, no reference in it, declared inputs only")


def prompt_problem(adapter: Any, studies: Sequence[Study]) -> str | None:
    """What is wrong with the prompts of these studies; None: nothing. Needs no weights.

    Checked: the same each time; no reference in it; the indication where the card names it; `used`
    in the words of harness/staged.py; a typed error for a study without images.
    """
    for study in studies:
        request = study.request
        prompt = adapter.prompt(request)
        if prompt != adapter.prompt(request):
            return f"{study.study_id}: asked twice, prompt() gives two prompts"
        if holds_reference(prompt.text, study):
            return f"{study.study_id}: the prompt holds the reference"
        told = request.indication
        if "indication" in adapter.card.inputs and told and told.rstrip(".") not in prompt.text:
            return f"{study.study_id}: the card names the indication and the prompt has none"
        if unknown := set(prompt.used) - ALLOWED:
            return f"used names {', '.join(sorted(unknown))}; known: {', '.join(sorted(ALLOWED))}"
        if prompt.max_new_tokens < 1:
            return f"max_new_tokens is {prompt.max_new_tokens}"
    if adapter.card.needs_pixels or IMAGES & set(adapter.card.inputs):
        return _without_images(adapter, studies[0].request)
    return None


def _without_images(adapter: Any, request: Request) -> str | None:
    bare = replace(request, images=(), prior=None)
    try:
        getattr(adapter, "prepare", adapter.prompt)(bare)
    except (ImageError, ReportCardError):
        return None
    except Exception as error:
        return f"a study without images raises {type(error).__name__}, not an ImageError"
    return "a study without images is prepared as if it had one; raise ImageError"


def card(subject: Subject) -> Check:
    """The card says what a reader must know, and its inputs are those that answers used."""
    name, shown = "card", subject.adapter.card
    absent = [] if shown.description.strip() else ["description"]
    if shown.kind == "model":  # floors and ceilings are ours and were trained on nothing
        absent += [field for field in ("licence", "trained_on") if not getattr(shown, field)]
    if absent:
        reason = f"the card has no {' and no '.join(absent)}"
        return Check(name, "FAIL", f"{reason}; where the authors do not say, write that")
    used = {word for answer in subject.answers for word in answer.used}
    covered = {word for entry in shown.inputs for word in (entry, *COVERS.get(entry, ()))}
    if undeclared := used - covered:
        return Check(name, "FAIL", f"answers used {_listed(undeclared)}, the card declares it not")
    offered = {word for study in subject.few for word in _offered(study.request)}
    idle = [
        entry
        for entry, names in ((e, {e, *COVERS.get(e, ())}) for e in shown.inputs)
        if names & offered and not names & used
    ]
    if idle:
        reason = f"the card declares {_listed(idle)}, and no answer says that it used it"
        return Check(name, "FAIL", f"{reason} (Prediction.used)")
    return Check(name, "pass", f"inputs: {', '.join(shown.inputs) or 'none'}")


def _offered(request: Request) -> Iterator[str]:
    """The inputs that this request has."""
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
