"""MAIRA-2: findings, grounded findings and phrase grounding from frontal, lateral and prior.

A port of microsoft/maira-2 without its remote code: RAD-DINO (DINOv2 ViT-B/14 at 518 pixels, last
layer with the LayerNorm, no CLS) → four linear layers with GELU → Vicuna-7B with linear RoPE
scaling. Gated, MSRLA licence, research only. docs/models/maira2.md says what differs from upstream
and what is unverified.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from reportcard.api import Image, ModelCard, Phrase, Report, ReportCardError, Request
from reportcard.core.files import digest, read_json
from reportcard.model_adapters import _maira2_prompt as words
from reportcard.model_adapters._maira2_answer import BINS, parse, placed
from reportcard.model_adapters._shared.llama_tokenizer import LlamaTokenizer, open_llama_tokenizer
from reportcard.model_adapters._shared.pixels import centre_crop, shortest_edge, standardise
from reportcard.model_adapters._shared.preflight import preflight_problem
from reportcard.model_adapters._shared.vicuna_prompt import NO_MARKS
from reportcard.model_adapters._shared.vision_llama_adapter import VisionLlamaAdapter
from reportcard.models.checkpoints import Checkpoint, fetch, locate, weights_identity
from reportcard.models.staged import Completion, Prepared, Prompt, decoding_of
from reportcard.models.views import frontal_of, lateral_of, prior_frontal_of

if TYPE_CHECKING:
    from reportcard.model_adapters._shared.vision_llama import VisionLlama

NEEDS = ("config.json", "*.safetensors")
SIDE, MEAN, STD = 518, 0.5307, 0.2583  # preprocessor_config.json
SECTIONS = ("indication", "technique", "comparison")
MARKUP = ("<obj>", "</obj>", "<box>", "</box>")
ALONE = "phrase grounding shows the frontal image and the phrase alone"


class Maira2(VisionLlamaAdapter):
    """Maira2 decodes greedily, in bfloat16 on a GPU.

    The examples of the model card load float32: model.dtype=float32.
    """

    paper_dtype = "bfloat16"
    tokens_per_image = 1369
    base_card = ModelCard(
        "MAIRA-2 (RAD-DINO, Vicuna-7B): findings, with boxes where asked",
        inputs=("frontal", "lateral", "prior_image", "prior_report", *SECTIONS, "phrase"),
        licence="MSRLA (research only, gated)",
        trained_on=("MIMIC-CXR", "PadChest", "USMix (private)"),
        url="https://huggingface.co/microsoft/maira-2",
        needs_pixels=True,
    )

    @property
    def identity(self) -> Mapping[str, Any]:
        asked = [words.reporting(g, True, True, "", ("", "", "")) for g in (False, True)]
        return {
            "weights": weights_identity(self.weights),
            "prompt": digest([*map(words.in_template, asked), words.REPEAT]),
            "new_tokens": dict(words.LIMITS),
            **decoding_of(self),
        }

    def missing(self) -> str | None:
        longest = 3 * self.tokens_per_image + 1500  # a context of 1,000 tokens and the answer
        return preflight_problem(self, NEEDS, "text_config", longest)

    @cached_property
    def _tokens(self) -> LlamaTokenizer | None:
        try:
            return open_llama_tokenizer(locate(self.weights, ()).folder)
        except ReportCardError:
            return None

    def prompt(self, request: Request) -> Prompt:
        frontal = frontal_of(request)
        left_out: dict[str, str] = {}
        used = ["frontal"]
        # As upstream, which keeps white space and takes only an empty section for a missing one.
        given = {name: getattr(request, name) or "" for name in SECTIONS}
        lateral, prior_image = lateral_of(request), prior_frontal_of(request)
        prior_report = _prior_text(request)
        images: list[Image] = [frontal]
        if request.task == "phrase_grounding":
            if not (request.phrase or "").strip():
                raise ReportCardError("maira2: phrase_grounding needs a phrase.")
            content = words.phrase_grounding(str(request.phrase))
            used.append("phrase")
            context: dict[str, object] = {
                "lateral": lateral,
                "prior_image": prior_image,
                "prior_report": prior_report.strip(),
            }
            context |= {name: text.strip() for name, text in given.items()}
            left_out = {name: ALONE for name, value in context.items() if value}
        else:
            if prior_image is None:
                if prior_report.strip():
                    # Upstream's prompt has no place for it either.
                    left_out["prior_report"] = "there is no prior frontal image to go with it"
                prior_report = ""
            reaching = {"lateral": lateral, "prior_image": prior_image}
            images += [image for image in reaching.values() if image is not None]
            texts = {"prior_report": prior_report, **given}
            used += [name for name, image in reaching.items() if image is not None]
            used += [name for name, text in texts.items() if text.strip()]
            content = words.reporting(
                request.task == "grounded_findings",
                lateral is not None,
                prior_image is not None,
                prior_report,
                tuple(given.values()),
            )
        if request.marks:
            left_out["marks"] = NO_MARKS
        context_shown = (prior_report, *given.values())
        for value in context_shown if "phrase" not in used else (str(request.phrase),):
            if spelled := words.CONTROL.search(value):
                raise ReportCardError(
                    f"maira2: the study's text contains {spelled[0]}, which the model would read"
                    " as an image, a box or an end. Change the text."
                )
        text = words.in_template(content)
        return Prompt(
            text,
            tuple(images),
            self.max_new_tokens or words.LIMITS[request.task],
            tuple(self._tokens.encode(text)) if self._tokens else None,
            tuple(used),
            left_out,
        )

    def pixels(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Stretch the grey values to 0…255, then scale as BitImageProcessor does: (3, 518, 518).

        A constant image becomes zeros. Upstream divides 0 by 0, and NaN goes through the model.
        """
        values = grey.astype(np.float64) - float(grey.min())
        values = values / (values.max() or 1.0) * 255
        image = PIL.Image.fromarray(values.astype(np.uint8))
        image = shortest_edge(image, SIDE, PIL.Image.Resampling.BICUBIC)
        return standardise(centre_crop(image, SIDE, "floor"), [MEAN] * 3, [STD] * 3)

    def load_network(self) -> VisionLlama:
        from reportcard.model_adapters._maira2_network import network

        checkpoint = fetch(str(self.weights), NEEDS)
        self.__dict__.pop("_tokens", None)  # None, if it was read before the download
        _check_pixels(checkpoint)
        return network(self, checkpoint.folder, _vocabulary(checkpoint), words.IMAGE)

    def report(self, prepared: Prepared, completion: Completion) -> Report:
        """Parse the markup into phrases with boxes on the original image.

        For findings, only the text is kept. A grounded phrase without words is left out; `raw`
        still has it.
        """
        phrases = parse(completion.text)
        text = " ".join(phrase.text for phrase in phrases if phrase.text)
        task = prepared.request.task
        if task in ("findings", "findings+impression") or not phrases:
            return Report(findings=text)
        on_image = placed(phrases, prepared.sizes[0])
        if task == "phrase_grounding":
            boxes = tuple(box for phrase in on_image for box in phrase.boxes)
            return Report(text, phrases=(Phrase(str(prepared.request.phrase), boxes),))
        return Report(text, phrases=tuple(phrase for phrase in on_image if phrase.text))


def _prior_text(request: Request) -> str:
    """Return the prior report: one text as it is, two sections with their headings on one line.

    Upstream's `prior_report` is one text, which its prompt takes unchanged. How the sections of a
    report were joined for training is unverified; a section that begins with its own heading does
    not get a second one.
    """
    report = request.prior.report if request.prior else None
    if report is None:
        return ""
    if report.impression is None:
        return report.findings or ""
    sections = (("FINDINGS", report.findings), ("IMPRESSION", report.impression))
    return " ".join(
        text if text.lstrip().upper().startswith(f"{name}:") else f"{name}: {text}"
        for name, text in sections
        if text and text.strip()
    )


def _vocabulary(checkpoint: Checkpoint) -> LlamaTokenizer:
    """Open the tokenizer. Raises ReportCardError unless it has every token that MAIRA-2 added."""
    tokens = open_llama_tokenizer(checkpoint.folder)
    bins = [f"<{axis}{n}>" for axis in "xy" for n in range(BINS)]
    absent = [name for name in (words.IMAGE, *MARKUP, *bins) if name not in tokens.added]
    if absent:
        raise ReportCardError(
            f"{checkpoint.folder}: the tokenizer lacks {len(absent)} of MAIRA-2's tokens,"
            f" {absent[0]} first."
        )
    return tokens


def _check_pixels(checkpoint: Checkpoint) -> None:
    """Raise ReportCardError if the checkpoint's image processor differs from this port's."""
    path = checkpoint.path("preprocessor_config.json")
    given = read_json(path) if path.is_file() else {}
    own = {"image_mean": [MEAN] * 3, "image_std": [STD] * 3, "resample": 3}
    for field, value in own.items():
        if given.get(field, value) != value:
            raise ReportCardError(f"{path}: {field} is {given[field]!r}; this port has {value!r}.")
