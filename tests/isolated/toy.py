"""An isolated adapter whose worker does what a request's indication says."""

from __future__ import annotations

from pathlib import Path

from reportcard.api import ModelCard, Request
from reportcard.models.isolated.adapter import IsolatedAdapter, Task


class Toy(IsolatedAdapter):
    worker = Path(__file__).parent / "toy_worker.py"
    requirements = Path(__file__).parent / "toy_requirements.txt"
    options = {"marks": None, "at_load": None}  # noqa: RUF012
    silence_s = 1.0

    @property
    def card(self) -> ModelCard:
        return ModelCard("A toy in another process", inputs=("frontal",), needs_pixels=True)

    def task(self, request: Request) -> Task:
        more = {"study": request.study_id}
        return Task(request.indication or "", request.images, more, ("frontal",))
