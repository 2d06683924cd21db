"""Libra (7B): RAD-DINO and a temporal adapter over a current and a prior frontal image.

Prompt and conversation are those of X-iZhang/Libra (README, libra/eval/run_libra.py); beams 10 and
1,024 new tokens are the paper's. Unverified: we loaded no published weights.
"""

from __future__ import annotations

from pathlib import Path

from reportcard.api import ModelCard, Request
from reportcard.models.isolated.adapter import IsolatedAdapter, Task
from reportcard.models.views import frontal_of, prior_frontal_of

HERE = Path(__file__).parent / "workers" / "libra"
QUESTION = "Provide a detailed description of the findings in the radiology image."


class Libra(IsolatedAdapter):
    """Libra runs the upstream package.

    code           a checkout of X-iZhang/Libra
    conversation   libra_v1 (7B) or libra_llama_3 (3B)
    """

    worker = HERE / "worker.py"
    requirements = HERE / "requirements.txt"
    options = {  # noqa: RUF012
        "code": None,
        "conversation": "libra_v1",
        "num_beams": 10,
        "no_repeat_ngram_size": 3,
    }
    files = ("code",)
    paper_tokens = 1024

    base_card = ModelCard(
        "Libra v1.0 in its own environment; unverified: not run on published weights",
        inputs=("frontal", "prior_image", "indication"),
        licence="code Apache-2.0; weights unverified",
        url="https://huggingface.co/X-iZhang/libra-v1.0-7b",
        needs_pixels=True,
    )

    def options_problem(self) -> str | None:
        if self.own["code"] is None:
            return "model.code=FOLDER is needed: git clone https://github.com/X-iZhang/Libra"
        return None

    def task(self, request: Request) -> Task:
        prior = prior_frontal_of(request)
        images = (frontal_of(request), *([prior] if prior else []))
        used = ("frontal", *(["prior_image"] if prior else []))
        if not request.indication:
            return Task(QUESTION, images, used=used)
        prompt = f"{QUESTION} Following clinical context: Indication: {request.indication}"
        return Task(prompt, images, used=(*used, "indication"))
