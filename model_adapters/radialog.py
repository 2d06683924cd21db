"""RaDialog v2 (7B): a report from one frontal image and a CheXpert classifier's findings.

The prompt contains those findings, and its authors publish no version without them (RaDialog_v2
issue 5). You bring them: model.findings names a CSV file with one row per study,
`study_id,findings`, the findings separated by ", " ("no finding" if there are none). Prompt and
pre-processing follow RadVLM's re-implementation and third-party code. Unverified: we loaded no
published weights.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from reportcard.api import ModelCard, ReportCardError, Request
from reportcard.core.user_files import by_id, read_records
from reportcard.models.isolated.adapter import IsolatedAdapter, Task
from reportcard.models.views import frontal_of

HERE = Path(__file__).parent / "workers" / "radialog"
INSTRUCTION = (
    "You are to act as a radiologist and write the finding section of a chest x-ray radiology"
    " report for this X-ray image and the given predicted findings. Write in the style of a"
    " radiologist, write one fluent text without enumeration, be concise and don't provide"
    " explanations or reasons."
)


class RaDialog(IsolatedAdapter):
    """RaDialog runs its LLaVA fork.

    code       a checkout of RaDialog_v2
    findings   a CSV file with the classifier's findings of each study
    """

    worker = HERE / "worker.py"
    requirements = HERE / "requirements.txt"
    options = {  # noqa: RUF012
        "code": None,
        "findings": None,
        "model_name": "llava-v1.5-7b-task-lora_radialog",
    }
    files = ("code", "findings")
    paper_tokens = 300

    base_card = ModelCard(
        "RaDialog v2 in its own environment, with a classifier's findings that the user"
        " brings; unverified: not run on published weights",
        inputs=("frontal",),
        url="https://github.com/ChantalMP/RaDialog_v2",
        needs_pixels=True,
    )

    def options_problem(self) -> str | None:
        if self.own["code"] is None:
            return "model.code=FOLDER is needed: git clone https://github.com/ChantalMP/RaDialog_v2"
        if self.own["findings"] is None:
            return (
                "RaDialog's prompt needs a CheXpert classifier's predictions, which are not made"
                " here: model.findings=FILE.csv with the columns study_id,findings."
            )
        return None

    @cached_property
    def _findings(self) -> dict[str, str]:
        records = by_id(read_records(Path(self.own["findings"]).expanduser()))
        return {study: record.text("findings") for study, record in records.items()}

    def task(self, request: Request) -> Task:
        if self.own["findings"] is None:
            raise ReportCardError("RaDialog needs model.findings=FILE.csv.")
        if request.study_id not in self._findings:
            raise ReportCardError(f"{self.own['findings']} has no row for this study.")
        # As upstream (test.py): ", ".join(findings).lower().strip().
        found = self._findings[request.study_id].lower().strip() or "no finding"
        prompt = f"<image>. Predicted Findings: {found}. {INSTRUCTION}"
        return Task(prompt, (frontal_of(request),), used=("frontal",))
