"""Builds Vicuna's prompt for the findings of one frontal image, and lists what it leaves out."""

from __future__ import annotations

from reportcard.api import Image, ReportCardError, Request

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives"
    " helpful, detailed, and polite answers to the user's questions."
)

NO_MARKS = "its prompt has no place for marks"


def findings_prompt(indication: str | None) -> str:
    """Return LLaVA-Rad's prompt.

    It is Vicuna v1's conversation (llava/conversation.py, `conv_vicuna_v1`) around the instruction
    of llava/utils.py, `data_loader_mimic_reason_findings`. As upstream, an empty indication is
    treated as an indication; only None leaves it out. Blanks before an indication stay; blanks at
    the end, and the characters `<image>`, go: llava/eval/model_mimic_cxr.py cleans the whole
    question (`q.replace("<image>", "").strip()`) before it puts the image in front.
    """
    task = "Provide a description of the findings in the radiology image"
    if indication is None:
        task += "."
    else:
        task += " given the following indication: " + indication.replace("\n", " ")
    return f"{SYSTEM} USER: <image>\n{task.replace('<image>', '').strip()} ASSISTANT:"


def used_inputs(request: Request) -> tuple[str, ...]:
    """Return the inputs of the request that the prompt shows."""
    return ("frontal",) if request.indication is None else ("frontal", "indication")


def left_out_inputs(request: Request, shown: Image, model: str) -> dict[str, str]:
    """Return the inputs that the request has and the model does not see, each with the reason."""
    one = f"{model} takes one frontal image"
    words = f"{model}'s prompt has the indication and no other text"
    others = [image for image in request.images if image is not shown and image.radiograph]
    prior = request.prior
    reasons = {
        "lateral": one if any(i.lateral for i in others) else None,
        "other_images": one if any(not i.lateral for i in others) else None,
        "prior_image": one if prior and prior.images else None,
        "prior_report": words if prior and prior.report else None,
        "technique": words if request.technique else None,
        "comparison": words if request.comparison else None,
        "age": words if request.age is not None else None,
        "sex": words if request.sex else None,
        "marks": NO_MARKS if request.marks else None,
    }
    return {name: reason for name, reason in reasons.items() if reason}


def check_task(request: Request, model: str) -> None:
    """Raise ReportCardError for phrase grounding, which a model without boxes cannot do."""
    if request.task == "phrase_grounding":
        raise ReportCardError(f"{model} writes findings; it cannot point at a phrase.")
