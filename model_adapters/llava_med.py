"""LLaVA-Med v1.5 (Mistral 7B) through the upstream package, one frontal image.

It answers as llava/eval/model_vqa.py does at temperature 0. The image is reported to have little
effect (LLaVA-Med issue 130) and the results not to reproduce (issues 28 and 36). Unverified: we
loaded no published weights. The prompt for a report is ours, because upstream has none.
"""

from __future__ import annotations

from pathlib import Path

from reportcard.api import ModelCard, Request
from reportcard.models.isolated.adapter import IsolatedAdapter, Task
from reportcard.models.views import frontal_of

HERE = Path(__file__).parent / "workers" / "llava_med"
QUESTION = "Describe the findings of this chest X-ray as a radiologist would in a report."


class LLaVAMed(IsolatedAdapter):
    """LLaVAMed runs the upstream package.

    code         a checkout of microsoft/LLaVA-Med
    model_name   the name from which its loader chooses the class, instead of the folder's name
    """

    worker = HERE / "worker.py"
    requirements = HERE / "requirements.txt"
    options = {"code": None, "model_name": "llava-med-v1.5-mistral-7b"}  # noqa: RUF012
    files = ("code",)
    paper_dtype = "float16"
    paper_tokens = 1024

    base_card = ModelCard(
        "LLaVA-Med v1.5 in its own environment; unverified: not run on published weights",
        inputs=("frontal",),
        licence="research only",
        url="https://huggingface.co/microsoft/llava-med-v1.5-mistral-7b",
        needs_pixels=True,
    )

    def options_problem(self) -> str | None:
        if self.own["code"] is None:
            return "model.code=FOLDER is needed: git clone https://github.com/microsoft/LLaVA-Med"
        return None

    def task(self, request: Request) -> Task:
        # The worker wraps it in the package's own `mistral_instruct` conversation.
        return Task(QUESTION, (frontal_of(request),), used=("frontal",))
