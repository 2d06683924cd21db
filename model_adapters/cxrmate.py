"""The CXRMate family (CSIRO): small encoder-decoders for all images of a study.

Pre-processing, forbidden words and sections are those of aehrc/cxrmate and its checkpoints' own
code. Unverified: we loaded no published weights. The longitudinal checkpoint is reported to get
worse with later transformers (aehrc/cxrmate issue 6). CXRMate-ED is missing here, because it needs
tables of MIMIC-IV-ED that a request does not hold.
"""

from __future__ import annotations

from pathlib import Path

from reportcard.api import ImageError, Json, ModelCard, Report, Request
from reportcard.models.isolated.adapter import IsolatedAdapter, Task

HERE = Path(__file__).parent / "workers" / "cxrmate"
STYLES = ("rrg24", "tf", "longitudinal", "two")


class CXRMate(IsolatedAdapter):
    """CXRMate runs each checkpoint of the family.

    style         rrg24, tf (single_tf, multi_tf), longitudinal (cxrmate) or two (cxrmate-2)
    most_images   1 for single_tf
    """

    worker = HERE / "worker.py"
    requirements = HERE / "requirements.txt"
    needs = ("config.json", "tokenizer.json")
    options = {"style": "rrg24", "num_beams": 4, "most_images": 5}  # noqa: RUF012
    paper_dtype = "float32"

    @property
    def base_card(self) -> ModelCard:
        prior = ("prior_report",) if self.own["style"] == "longitudinal" else ()
        return ModelCard(
            f"CXRMate ({self.own['style']}) in its own environment; unverified: not run on"
            " published weights",
            inputs=("frontal", "lateral", *prior),
            url="https://huggingface.co/aehrc",
            needs_pixels=True,
        )

    def options_problem(self) -> str | None:
        if self.own["style"] in STYLES:
            return None
        return f"model.style is one of {', '.join(STYLES)}, not {self.own['style']!r}."

    def task(self, request: Request) -> Task:
        seen = [i for i in request.images if i.available and i.radiograph]
        images = tuple(sorted(seen, key=lambda i: i.lateral))[: self.own["most_images"]]
        if not images:
            raise ImageError("missing", "no image on this machine.")
        used = tuple(dict.fromkeys("lateral" if i.lateral else "frontal" for i in images))
        if self.own["style"] != "longitudinal":
            return Task(images=images, used=used)
        report = request.prior.report if request.prior else None
        prior = {
            "prior_findings": report.findings if report else None,
            "prior_impression": report.impression if report else None,
        }
        texts = ("prior_report",) if any(prior.values()) else ()
        return Task(images=images, more=prior, used=(*used, *texts))

    def report(self, request: Request, answer: Json) -> Report:
        parts = [answer.get(name) for name in ("findings", "impression")]
        findings, impression = (p.strip() if isinstance(p, str) else None for p in parts)
        return Report(findings, impression)
