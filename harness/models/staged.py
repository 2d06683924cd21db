"""StagedAdapter is the base class of models that load weights. It answers in three stages.

    Request ──prepare──▶ Prepared ──complete──▶ Completion ──report──▶ Report
             prompt, ids,          weights,               parsed text,
             pixels (CPU)          device                 boxes

`prompt` and `report` need no weights, so `reportcard prompt` can show the exact prompt, and both
can be tested on any machine. The engine sorts requests by `cost`, prepares the next batches in
threads, and halves a batch that does not fit into the device's memory.
"""

from __future__ import annotations

import gc
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reportcard.api import (
    Image,
    ModelCard,
    Prediction,
    Report,
    ReportCardError,
    Request,
    Status,
)
from reportcard.core.model_answer import answer_in
from reportcard.models.checkpoints import weights_identity, weights_revision

DTYPES = ("auto", "float32", "bfloat16", "float16")
KV_CACHES = ("dynamic", "static")
Cost = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Prompt is the text and the images that a model receives for one request.

    text            the exact string, with the model's own placeholder for each image
    images          the images, in the order in which the model receives them
    max_new_tokens  the limit of this task
    ids             token ids with one placeholder per image; None if the tokenizer is not on this
                    machine
    used            the inputs that reach the model: frontal, lateral, prior_image, prior_report,
                    indication, technique, comparison, phrase, age, sex, marks
    left_out        inputs that the request has and the model does not receive, each with the reason
    """

    text: str
    images: tuple[Image, ...]
    max_new_tokens: int
    ids: tuple[int, ...] | None = None
    used: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Prepared is a request that is ready for the forward pass.

    `pixels` holds one array per image and `sizes` the (height, width) of each original image.
    """

    request: Request
    prompt: Prompt
    pixels: tuple[npt.NDArray[Any], ...]
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """Completion is the model's answer without special tokens.

    `finished` is false when the answer was cut at the limit of new tokens.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    finished: bool = True
    tokens_in: int | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling holds the settings of seeded sampling, which replaces greedy decoding.

    Each study gets `draws` reports.
    """

    temperature: float
    top_p: float = 1.0
    draws: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not 0 < self.top_p <= 1 or self.draws < 1:
            raise ReportCardError(
                "model.sampling: temperature is above 0, top_p in (0, 1], draws 1 or more, not"
                f" {self.temperature}, {self.top_p}, {self.draws}."
            )


class StagedAdapter(ABC):
    """StagedAdapter is what a model with weights extends; `reportcard new-model` writes a skeleton.

    weights         a folder, or a Hugging Face id at a commit: org/name@0123…
    max_new_tokens  replaces the limits of the model's paper
    dtype           type of the parameters; auto means `paper_dtype` on CUDA and float32 on a CPU
    device          auto, cpu, cuda, cuda:1
    batch_size      requests per forward pass
    sampling        {temperature, top_p, draws, seed}; None means greedy decoding
    kv_cache        dynamic, or static: allocated in full, and compiled by transformers on a GPU
    """

    paper_dtype = "bfloat16"
    tokens_per_image = 0

    def __init__(
        self,
        weights: str | None = None,
        max_new_tokens: int | None = None,
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int = 8,
        sampling: Mapping[str, Any] | None = None,
        kv_cache: str = "dynamic",
    ) -> None:
        name = type(self).__name__
        if dtype not in DTYPES:
            raise ReportCardError(f"{name}: dtype is one of {', '.join(DTYPES)}, not {dtype!r}.")
        if kv_cache not in KV_CACHES:
            raise ReportCardError(
                f"{name}: kv_cache is one of {', '.join(KV_CACHES)}, not {kv_cache!r}."
            )
        for option, value in (("batch_size", batch_size), ("max_new_tokens", max_new_tokens)):
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and not (value is None and option == "max_new_tokens"):
                raise ReportCardError(
                    f"{name}: {option} must be a whole number from 1 up, not {value!r}."
                )
        self.weights = weights
        self.max_new_tokens, self.batch_size = max_new_tokens, batch_size
        self.dtype, self.device, self.kv_cache = dtype, device, kv_cache
        try:
            self.sampling = Sampling(**sampling) if sampling else None
        except TypeError:
            raise ReportCardError(
                f"{name}: sampling takes temperature, top_p, draws and seed, not"
                f" {', '.join(map(str, sampling or ()))}."
            ) from None
        # The engine replaces this by a function that has prepared some requests in advance.
        self.prepared: Callable[[Request], Prepared] = self.prepare
        self.uses: Counter[Image] = Counter()  # how many coming requests show each image

    # An adapter implements these.

    @property
    def base_card(self) -> ModelCard:
        """The part of the model card that is the same for any weights and any sampling.

        Most adapters set it as a class attribute: `base_card = ModelCard("…", inputs=(…))`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no base_card.")

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides the answers: weights, prompt version, decoding, dtype."""

    @abstractmethod
    def missing(self) -> str | None:
        """Return None if the model can run, else a sentence: what is missing and what to do.

        It loads nothing and imports no torch, because `list models` calls it for every model.
        """

    @abstractmethod
    def prompt(self, request: Request) -> Prompt:
        """Build the prompt. Raises ReportCardError if the request lacks an input that is needed."""

    @abstractmethod
    def pixels(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Turn the grey values (height, width) of one image into the vision encoder's input."""

    @abstractmethod
    def load(self) -> None:
        """Read the weights; a second call does nothing. Raises ReportCardError."""

    @abstractmethod
    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        """Run the forward pass. Lets the error through when the device has too little memory."""

    def report(self, prepared: Prepared, completion: Completion) -> Report:
        """Parse the answer; by default all of its text is the findings.

        The completion comes without the thoughts of a reasoning model.
        """
        return Report(findings=completion.text.strip())

    def close(self) -> None:  # noqa: B027 (most have nothing to add)
        """Free the device's memory."""

    # An adapter inherits these.

    @property
    def card(self) -> ModelCard:
        """The model card: `base_card` with the weights, their commit and the number of draws.

        Weights that `base_card` names stay as they are; so the card of a preset can name the public
        repository while a local copy is loaded.
        """
        said = self.base_card
        return replace(
            said,
            weights=said.weights or (weights_identity(self.weights) if self.weights else None),
            revision=said.revision or weights_revision(self.weights),
            draws=self.sampling.draws if self.sampling else said.draws,
        )

    def free(self) -> None:
        """Give unused memory back to the device; the engine also calls this when it was full."""
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def plan(self, requests: Sequence[Request]) -> None:
        """Load the weights and count how often each image is used; called before all batches."""
        self.uses = Counter(image for r in requests for image in self.images(r))
        self.load()

    def images(self, request: Request) -> tuple[Image, ...]:
        """Return the images that the model receives for a request, or none if it has no prompt."""
        try:
            return self.prompt(request).images
        except Exception:  # `prepare` raises it again, for this study alone
            return ()

    def cost(self, request: Request) -> Cost:
        """Return at most how many new tokens, images and prompt tokens a request takes.

        Requests of equal cost make batches without padding.
        """
        try:
            prompt = self.prompt(request)
        except Exception:  # as in `images`
            return (0, 0, 0)
        words = len(prompt.ids) if prompt.ids is not None else len(prompt.text) // 3
        n = len(prompt.images)
        return (prompt.max_new_tokens, n, words + n * (self.tokens_per_image - 1))

    def prepare(self, request: Request) -> Prepared:
        """Build the prompt and read the images. Raises ImageError and ReportCardError."""
        prompt = self.prompt(request)
        greys = [image.pixels() for image in prompt.images]
        sizes = tuple((int(g.shape[0]), int(g.shape[1])) for g in greys)
        return Prepared(request, prompt, tuple(self.pixels(g) for g in greys), sizes)

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer one batch of requests, in order."""
        if not requests:
            return []
        batch = [self.prepared(request) for request in requests]
        self.load()
        return [self._answer(p, c) for p, c in zip(batch, self.complete(batch), strict=True)]

    def _answer(self, prepared: Prepared, completion: Completion) -> Prediction:
        answer = answer_in(completion.text)
        report = self.report(prepared, replace(completion, text=answer))
        status: Status = "ok" if completion.finished else "truncated"
        if not answered(report, answer):
            status = "empty"
        return Prediction(
            prepared.request.study_id,
            report,
            raw=completion.text,
            status=status,
            used=prepared.prompt.used,
            tokens_in=completion.tokens_in,
            tokens_out=len(completion.token_ids) or None,
            draw=prepared.request.draw,
            token_ids=completion.token_ids or None,
        )


def answered(report: Report, answer: str) -> bool:
    """Return whether the model answered anything; thoughts are no answer.

    In phrase grounding the report repeats the phrase of the request. So a phrase without a box
    counts only if the model wrote some text.
    """
    written = report.text(("findings", "impression")).strip()
    located = any(phrase.boxes for phrase in report.phrases)
    return bool(written or located or (report.phrases and answer_in(answer).strip()))


def decoding_of(adapter: StagedAdapter) -> Mapping[str, Any]:
    """Return the part of `identity` that all adapters have in common: how tokens are decoded."""
    sampling = adapter.sampling
    return {
        "max_new_tokens": adapter.max_new_tokens,
        "dtype": resolved_dtype(adapter),
        "kv_cache": adapter.kv_cache,  # it can change the last bits in half precision
        "sampling": [sampling.temperature, sampling.top_p, sampling.seed] if sampling else None,
    }


def resolved_dtype(adapter: StagedAdapter) -> str:
    """Return the type that the parameters have on this machine: `dtype` with auto resolved."""
    if adapter.dtype != "auto":
        return adapter.dtype
    if adapter.device == "auto":
        try:
            import torch
        except ImportError:
            return adapter.paper_dtype
        cuda = bool(torch.cuda.is_available())
    else:
        cuda = adapter.device.startswith("cuda")
    return adapter.paper_dtype if cuda else "float32"
