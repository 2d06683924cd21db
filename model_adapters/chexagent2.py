"""CheXagent-2 (3B): structured findings, SRRG variants, phrase grounding.

Prompts and decoding are those of Stanford-AIMI/CheXagent, model_chexagent/chexagent.py; the text is
cleaned as in its evaluation_chexbench. Boxes are (x1,y1),(x2,y2) in hundredths of the full image.
Unverified: we loaded no published weights.
"""

from __future__ import annotations

import re
from pathlib import Path

from reportcard.api import (
    Box,
    ImageError,
    Json,
    ModelCard,
    Phrase,
    Report,
    ReportCardError,
    Request,
)
from reportcard.models.isolated.adapter import IsolatedAdapter, Task

HERE = Path(__file__).parent / "workers" / "chexagent2"
SRRG = "Structured Radiology Report Generation for Findings Section"
NUMBERS = re.compile(
    r"\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)\s*,\s*\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)"
)


class CheXagent2(IsolatedAdapter):
    """CheXagent2 has one option, the style of its prompt.

    style   "indication", as the 3B model was evaluated, or "srrg" for the SRRG checkpoints
    """

    worker = HERE / "worker.py"
    requirements = HERE / "requirements.txt"
    needs = ("config.json", "tokenizer_config.json")
    options = {"style": "indication"}  # noqa: RUF012

    @property
    def base_card(self) -> ModelCard:
        texts = ("indication",) if self.own["style"] == "indication" else ()
        return ModelCard(
            "CheXagent-2 (3B) in its own environment; unverified: not run on published weights",
            inputs=("frontal", "lateral", *texts, "phrase"),
            licence="research only, not for clinical use",
            url="https://huggingface.co/StanfordAIMI/CheXagent-2-3b",
            needs_pixels=True,
        )

    def options_problem(self) -> str | None:
        style = self.own["style"]
        return (
            None
            if style in ("indication", "srrg")
            else f"model.style is indication or srrg, not {style!r}."
        )

    def task(self, request: Request) -> Task:
        images = tuple(i for i in request.images if i.available and i.radiograph)
        images = tuple(sorted(images, key=lambda i: i.lateral))[:2]
        if not images:
            raise ImageError("missing", "no image on this machine.")
        if request.task == "phrase_grounding":
            if not request.phrase:
                raise ReportCardError("phrase grounding needs a phrase.")
            prompt = f"Please locate the following phrase: {request.phrase}"
            return Task(prompt, images[:1], used=(_view(images[0]), "phrase"))
        views = tuple(dict.fromkeys(map(_view, images)))
        if self.own["style"] == "srrg":
            return Task(SRRG, images, used=views, left_out={"indication": "not in SRRG's prompt"})
        indication = (request.indication or "").strip() and request.indication
        prompt = (
            f'Given the indication: "{indication or ""}", write a structured findings'
            " section for the CXR."
        )
        return Task(prompt, images, used=(*views, *(["indication"] if indication else [])))

    def report(self, request: Request, answer: Json) -> Report:
        if request.task == "phrase_grounding":
            return Report(phrases=(Phrase(request.phrase or "", _boxes(answer)),))
        text = re.sub(r"\[.*?\]", "", answer["text"]).replace("**", "")
        return Report(findings=" ".join(text.split()))


def _view(image: object) -> str:
    return "lateral" if getattr(image, "lateral", False) else "frontal"


def _boxes(answer: Json) -> tuple[Box, ...]:
    """Return every well-formed box in fractions of the image; other text is dropped."""
    found = []
    boxes = answer.get("boxes")
    for words in boxes if isinstance(boxes, list) else ():
        match = NUMBERS.search(words) if isinstance(words, str) else None
        if match:
            x_min, y_min, x_max, y_max = (int(n) / 100 for n in match.groups())
            if 0 <= x_min < x_max <= 1 and 0 <= y_min < y_max <= 1:
                found.append(Box(x_min, y_min, x_max, y_max))
    return tuple(dict.fromkeys(found))
