"""A model that loads weights, in three stages: what it is given, the forward pass, what it said.

    Request ──prepare──▶ Prepared ──complete──▶ Completion ──report──▶ Report
             prompt, ids,          weights,               parsed text,
             pixels (CPU)          device                 boxes

`prompt` and `report` need no weights, so the exact prompt can be shown (`reportcard prompt`) and
both can be tested anywhere. The engine sorts requests by `cost`, prepares the coming batches in
threads, and halves a batch for which the device has no memory.
"""

from __future__ import annotations

import gc
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from reportcard.api import Image, ModelCard, Prediction, Report, ReportCardError, Request

DTYPES = ("auto", "float32", "bfloat16", "float16")
KV_CACHES = ("dynamic", "static")
Cost = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is told and shown for one request.

    text            the exact string, each image as the model's own placeholder
    images          in the order in which they enter
    max_new_tokens  the limit of this task
    ids             token ids with one placeholder per image; None: the tokenizer is not here
    used            inputs that reach the model: frontal, lateral, prior_image, prior_report,
                    indication, technique, comparison, phrase, age, sex, marks
    left_out        input → why it does not reach the model although the request has it
    """

    text: str
    images: tuple[Image, ...]
    max_new_tokens: int
    ids: tuple[int, ...] | None = None
    used: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready for the forward pass: one array and one (height, width) per image."""

    request: Request
    prompt: Prompt
    pixels: tuple[npt.NDArray[Any], ...]
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """The model's answer without special tokens. finished: it ended by itself, not at the limit."""

    text: str
    token_ids: tuple[int, ...] = ()
    finished: bool = True
    tokens_in: int | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Seeded sampling instead of greedy decoding, `draws` reports per study."""

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
    """Extend this for a model with weights. `reportcard new-model` writes the skeleton.

    weights         a folder, or a hub id at a commit: org/name@0123…
    max_new_tokens  replaces the limits of the model's paper
    dtype           of the parameters; auto: `paper_dtype` on CUDA, float32 on a CPU
    device          auto, cpu, cuda, cuda:1
    batch_size      requests per forward pass
    sampling        {temperature, top_p, draws, seed}; None: greedy
    kv_cache        dynamic, or static: allocated whole, and compiled by transformers on a GPU
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
        # The engine puts its own here, which has prepared some requests already.
        self.prepared: Callable[[Request], Prepared] = self.prepare
        self.uses: Counter[Image] = Counter()  # how often each image will still be asked for

    # What an adapter says and does.

    @property
    @abstractmethod
    def card(self) -> ModelCard: ...

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """What decides the answers: digests of weights, prompt version, decoding, dtype."""

    @abstractmethod
    def missing(self) -> str | None:
        """None when it can run; else a sentence: what is missing, and what to do. Loads nothing."""

    @abstractmethod
    def prompt(self, request: Request) -> Prompt:
        """Raises ReportCardError where the request lacks what the model cannot do without."""

    @abstractmethod
    def pixels(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """One image as the vision tower takes it, from grey values (height, width)."""

    @abstractmethod
    def load(self) -> None:
        """Read the weights, once. Raises ReportCardError."""

    @abstractmethod
    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        """The forward pass. A failure for want of device memory is raised as it comes."""

    def report(self, prepared: Prepared, completion: Completion) -> Report:
        """What was said, parsed; default: all of it is the findings."""
        return Report(findings=completion.text.strip())

    def close(self) -> None:  # noqa: B027 (most have nothing to add)
        """Free the device's memory."""

    def free(self) -> None:
        """What nothing refers to any more goes back to the device; called when it was full, too."""
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    # What follows from it.

    def plan(self, requests: Sequence[Request]) -> None:
        """Called once before the first batch: load, and count what images are asked for again."""
        self.uses = Counter(image for r in requests for image in self.images(r))
        self.load()

    def images(self, request: Request) -> tuple[Image, ...]:
        """The images that this request brings to the model; none where it cannot be asked."""
        try:
            return self.prompt(request).images
        except Exception:  # raised again where it costs this study alone: in `prepare`
            return ()

    def cost(self, request: Request) -> Cost:
        """(new tokens, images, prompt tokens) at most: equal costs make equally long batches."""
        try:
            prompt = self.prompt(request)
        except Exception:  # as in `images`
            return (0, 0, 0)
        words = len(prompt.ids) if prompt.ids is not None else len(prompt.text) // 3
        n = len(prompt.images)
        return (prompt.max_new_tokens, n, words + n * (self.tokens_per_image - 1))

    def prepare(self, request: Request) -> Prepared:
        """Everything before the weights. Raises ImageError, ReportCardError."""
        prompt = self.prompt(request)
        greys = [image.pixels() for image in prompt.images]
        sizes = tuple((int(g.shape[0]), int(g.shape[1])) for g in greys)
        return Prepared(request, prompt, tuple(self.pixels(g) for g in greys), sizes)

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        if not requests:
            return []
        batch = [self.prepared(request) for request in requests]
        self.load()
        return [self._answer(p, c) for p, c in zip(batch, self.complete(batch), strict=True)]

    def _answer(self, prepared: Prepared, completion: Completion) -> Prediction:
        report = self.report(prepared, completion)
        status = (
            "empty"
            if not answered(report, completion.text)
            else "ok"
            if completion.finished
            else "truncated"
        )
        return Prediction(
            prepared.request.study_id,
            report,
            raw=completion.text,
            status=status,  # type: ignore[arg-type]
            used=prepared.prompt.used,
            tokens_in=completion.tokens_in,
            tokens_out=len(completion.token_ids) or None,
            draw=prepared.request.draw,
            token_ids=completion.token_ids or None,
        )


def answered(report: Report, raw: str) -> bool:
    """Whether a model said anything. A phrase that it was to locate is the request's own word, so
    without a box it is an answer only where the model wrote some text."""
    written = report.text(("findings", "impression")).strip()
    located = any(phrase.boxes for phrase in report.phrases)
    return bool(written or located or (report.phrases and raw.strip()))


def decoding_of(adapter: StagedAdapter) -> Mapping[str, Any]:
    """The part of an identity that is the same for every adapter."""
    sampling = adapter.sampling
    return {
        "max_new_tokens": adapter.max_new_tokens,
        "dtype": resolved_dtype(adapter),
        "kv_cache": adapter.kv_cache,  # it can move the last bits of half precision
        "sampling": [sampling.temperature, sampling.top_p, sampling.seed] if sampling else None,
    }


def resolved_dtype(adapter: StagedAdapter) -> str:
    """`auto` in words: what the parameters will be held in on this machine."""
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
