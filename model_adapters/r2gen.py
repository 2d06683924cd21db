"""R2Gen: a ResNet and a memory-driven transformer; lower-cased reports.

Its vocabulary is not in the checkpoint. It is rebuilt from the training's annotation.json (words
that occur at least 3 times in IU X-ray, 10 times in MIMIC-CXR), so that the answers are garbage
without exactly that file. The IU model takes two views, the MIMIC model one. Source:
zhjohnchan/R2Gen (main_test.py, test_*.sh). Unverified: we loaded no published weights.
"""

from __future__ import annotations

from pathlib import Path

from reportcard.api import ImageError, ModelCard, Request
from reportcard.models.isolated.adapter import IsolatedAdapter, Task

HERE = Path(__file__).parent / "workers" / "r2gen"
TRAINED_ON = ("iu_xray", "mimic_cxr")


class R2Gen(IsolatedAdapter):
    """R2Gen runs the upstream code.

    code         a checkout of zhjohnchan/R2Gen
    annotation   the annotation.json of its training
    trained_on   iu_xray or mimic_cxr
    checkpoint   the file in the folder of the weights
    """

    worker = HERE / "worker.py"
    requirements = HERE / "requirements.txt"
    needs = ("*.pth",)
    options = {  # noqa: RUF012
        "code": None,
        "annotation": None,
        "trained_on": "mimic_cxr",
        "checkpoint": "model_mimic_cxr.pth",
        "threshold": 10,
        "beam_size": 3,
    }
    files = ("code", "annotation")
    paper_dtype = "float32"
    paper_tokens = 100

    @property
    def base_card(self) -> ModelCard:
        return ModelCard(
            f"R2Gen ({self.own['trained_on']}) in its own environment; unverified: not run on"
            " published weights",
            inputs=("frontal", "lateral") if self.own["trained_on"] == "iu_xray" else ("frontal",),
            trained_on=("MIMIC-CXR" if self.own["trained_on"] == "mimic_cxr" else "IU X-ray",),
            url="https://github.com/zhjohnchan/R2Gen",
            needs_pixels=True,
        )

    def options_problem(self) -> str | None:
        if self.own["trained_on"] not in TRAINED_ON:
            return f"model.trained_on is one of {', '.join(TRAINED_ON)}."
        if self.own["code"] is None:
            return "model.code=FOLDER is needed: git clone https://github.com/zhjohnchan/R2Gen"
        if self.own["annotation"] is None:
            return (
                "R2Gen rebuilds its vocabulary from the annotation.json that it was trained on;"
                " without that file its words are garbage: model.annotation=FILE"
            )
        if self.dtype != "float32":
            return "R2Gen runs in float32: leave model.dtype to auto."
        return None

    def task(self, request: Request) -> Task:
        seen = [i for i in request.images if i.available and i.radiograph]
        views = sorted(seen, key=lambda i: i.lateral)
        n = 2 if self.own["trained_on"] == "iu_xray" else 1
        if len(views) < n:
            raise ImageError(
                "missing", f"R2Gen needs {n} image(s), and this study has {len(views)}."
            )
        used = tuple(dict.fromkeys("lateral" if i.lateral else "frontal" for i in views[:n]))
        return Task(images=tuple(views[:n]), used=used)
