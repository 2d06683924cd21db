"""Runs any chat model with images that transformers knows; a YAML file alone describes it.

    reportcard generate requests.jsonl model=medgemma_4b model.weights=FOLDER --out OUT.jsonl

The presets in conf/model say what each model is asked and how its answer is parsed; this file knows
none of them. Prompt and parsing need no weights (_shared/chat_prompt.py, _shared/parse_answer.py).
_chat_models.py opens the processor and the model. docs/models/huggingface.md lists the presets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from reportcard.api import ModelCard, Report, ReportCardError, Request
from reportcard.core.model_answer import opened_thoughts
from reportcard.model_adapters._shared.chat_prompt import ROLES, ChatTurn, build_turn, text_inputs
from reportcard.model_adapters._shared.local_weights import locate_if_here, missing_packages
from reportcard.model_adapters._shared.parse_answer import FORMATS, parse_answer
from reportcard.model_adapters._shared.preflight import check_device
from reportcard.models.checkpoints import fetch, locate, weights_identity
from reportcard.models.staged import Completion, Prepared, Prompt, StagedAdapter, decoding_of

PACKAGES = ("torch", "transformers", "safetensors")
FILES = ("config.json", "tokenizer_config.json")
NEEDS = (*FILES, "*.safetensors")


class HuggingFace(StagedAdapter):
    """HuggingFace is a chat model with images from a Hugging Face checkpoint.

    instruction  what the user says, or one text per task; {indication} and the other fields of
                 _shared/chat_prompt.py are filled in; a line without its input is left out
    context      such lines before the instruction
    system       the system's turn; None for no such turn
    images       which views, in order: frontal, lateral, prior
    image_first  whether images come before the text of the turn
    answer       the format of the answer (_shared/parse_answer.py), or one per task
    processor    options of the checkpoint's own image processor, such as Qwen's max_pixels
    paper_dtype  what dtype=auto means on CUDA
    repository   where the weights are published; it goes to the card like licence and trained_on
    """

    def __init__(
        self,
        weights: str | None = None,
        instruction: str | Mapping[str, str] = "Describe the findings of this chest X-ray.",
        context: Sequence[str] = (),
        system: str | None = None,
        images: Sequence[str] = ("frontal",),
        image_first: bool = True,
        answer: str | Mapping[str, str] = "plain",
        processor: Mapping[str, Any] | None = None,
        paper_dtype: str = "bfloat16",
        repository: str | None = None,
        description: str = "A chat model with images, from a Hugging Face checkpoint",
        licence: str | None = None,
        trained_on: Sequence[str] = (),
        max_new_tokens: int | None = 512,
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int = 8,
        sampling: Mapping[str, Any] | None = None,
        kv_cache: str = "dynamic",
    ) -> None:
        limit = max_new_tokens or 512
        super().__init__(weights, limit, dtype, device, batch_size, sampling, kv_cache)
        self.instruction = _by_task(instruction, "instruction")
        self.answer = _by_task(answer, "answer")
        for kind in self.answer.values():
            _one_of("answer", kind, FORMATS)
        for role in images:
            _one_of("images", role, ROLES)
        _one_of("paper_dtype", paper_dtype, ("float32", "bfloat16", "float16"))
        self.context, self.system, self.roles = tuple(context), system, tuple(images)
        self.image_first, self.options = image_first, dict(processor or {})
        self.paper_dtype, self.repository = paper_dtype, repository
        self._description, self._licence, self._trained_on = description, licence, trained_on
        self._model: Any = None
        self._ends: tuple[int, ...] = ()
        self._folder: Path | None = None
        self._tokenizer_lock = Lock()  # a fast tokenizer panics when two threads use it

    @property
    def base_card(self) -> ModelCard:
        return ModelCard(
            self._description,
            inputs=("images", *_named_fields(self.context, self.instruction)),
            weights=self.repository,
            licence=self._licence,
            trained_on=tuple(self._trained_on),
            url=f"https://huggingface.co/{self.repository}" if self.repository else None,
            needs_pixels=True,
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "weights": weights_identity(self.weights),
            "instruction": self.instruction,
            "context": self.context,
            "system": self.system,
            "images": self.roles,
            "image_first": self.image_first,
            "answer": self.answer,
            "processor": self.options,
            **decoding_of(self),
        }

    def missing(self) -> str | None:
        if problem := missing_packages(PACKAGES):
            return problem
        if not self.weights and self.repository:
            return (
                f"no weights given: model.weights=FOLDER, or {self.repository}@<40 hex digits>, a"
                f" commit listed at https://huggingface.co/{self.repository}/commits"
            )
        try:
            found = locate_if_here(self.weights, NEEDS)
            check_device(self)
            if found is None:  # the weights will be downloaded
                return None
            from reportcard.model_adapters._chat_models import check, memory_problem

            check(found.folder, self)
            return memory_problem(found.folder, self)
        except ReportCardError as error:
            return str(error)

    def prompt(self, request: Request) -> Prompt:
        turn = self._build_turn(request)
        text, ids = turn.text, None
        processor = self._processor()
        if processor is not None:
            token = getattr(processor, "image_token", None)
            if token and token in turn.text:
                raise ReportCardError(
                    f"The study's text contains {token}, which the model would read as an image."
                    " Change the text."
                )
            self._check_control_tokens(processor.tokenizer, request)
            turns = self._turns(turn, [None] * len(turn.images))
            with self._tokenizer_lock:
                text = processor.apply_chat_template(turns, add_generation_prompt=True)
                bos = processor.tokenizer.bos_token
                twice = bool(bos) and text.startswith(bos)
                ids = tuple(processor.tokenizer(text, add_special_tokens=not twice)["input_ids"])
        elif self.system:
            text = f"{self.system}\n{text}"
        limit = self.max_new_tokens or 0
        return Prompt(text, turn.images, limit, ids, turn.used, turn.left_out)

    def pixels(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Return RGB (height, width, 3) at full size; the checkpoint's processor scales it."""
        return np.repeat(grey[..., None], 3, axis=2)

    def load(self) -> None:
        if self._model is not None:
            return
        from reportcard.model_adapters._chat_models import check, load_model

        folder = fetch(self.weights or "", NEEDS).folder
        check(folder, self)
        self._folder = folder
        self._model, self._ends = load_model(folder, self)

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        """Answer a batch; only requests with equally many images share a pass.

        Mllama's answers change beside padded images.
        """
        found: dict[int, Completion] = {}
        for count in {len(p.pixels) for p in batch}:
            rows = [n for n, p in enumerate(batch) if len(p.pixels) == count]
            alike = self._complete([batch[n] for n in rows])
            found.update(zip(rows, alike, strict=True))
        return [found[n] for n in range(len(batch))]

    def _complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        from reportcard.model_adapters._chat_models import (
            decode,
            generate_answers,
            processor_options,
        )

        turns = [self._turns(self._build_turn(p.request), p.pixels) for p in batch]
        processor = self._processor()
        if processor is None:
            raise ReportCardError(
                f"model.weights: the processor of {self.weights} is not on this machine any more."
            )
        options = processor_options(processor, self.options)
        with self._tokenizer_lock:
            inputs = processor.apply_chat_template(
                turns,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs=options,
            )
        found = generate_answers(self, self._model, inputs, batch, self._ends, processor.tokenizer)
        with self._tokenizer_lock:
            return [
                Completion(
                    opened_thoughts(p.prompt.text) + decode(processor.tokenizer, a.ids),
                    a.ids,
                    a.finished,
                    a.tokens_in,
                )
                for p, a in zip(batch, found, strict=True)
            ]

    def report(self, prepared: Prepared, completion: Completion) -> Report:
        task = prepared.request.task
        kind = self.answer.get(task) or self.answer.get("findings", "plain")
        return parse_answer(kind, completion.text, prepared.request.phrase)

    def close(self) -> None:
        if self._model is not None:
            self._model = None
            self.free()

    def _build_turn(self, request: Request) -> ChatTurn:
        instruction = self.instruction.get(request.task)
        if instruction is None and request.task in ("findings+impression", "grounded_findings"):
            instruction = self.instruction.get("findings")
        if instruction is None:
            raise ReportCardError(
                f"this model has no instruction for {request.task}, only for"
                f" {', '.join(self.instruction)}: give model.instruction.{request.task}."
            )
        context = () if request.task == "phrase_grounding" else self.context
        return build_turn(request, instruction, context, self.roles)

    def _check_control_tokens(self, tokenizer: Any, request: Request) -> None:
        """Raise ReportCardError if the study's text contains one of the model's control tokens."""
        added = tokenizer.added_tokens_decoder.values()
        control = {*tokenizer.all_special_tokens, *(t.content for t in added if t.special)}
        for name, value in text_inputs(request).items():
            spelled = next((token for token in sorted(control) if token and token in value), None)
            if spelled:
                raise ReportCardError(
                    f"The study's {name} contains {spelled}, which the model would read as a"
                    " control token. Change the text."
                )

    def _turns(self, turn: ChatTurn, pixels: Sequence[Any]) -> list[dict[str, Any]]:
        import PIL.Image

        images: list[dict[str, Any]] = [
            {"type": "image"}
            if array is None
            else {"type": "image", "image": PIL.Image.fromarray(array)}
            for array in pixels
        ]
        words: list[dict[str, Any]] = [{"type": "text", "text": turn.text}]
        content = images + words if self.image_first else words + images
        turns = [{"role": "user", "content": content}]
        if self.system:
            system = [{"type": "text", "text": self.system}]
            turns.insert(0, {"role": "system", "content": system})
        return turns

    def _processor(self) -> Any:
        """Return the checkpoint's processor, or None without the checkpoint or transformers."""
        if find_spec("transformers") is None or find_spec("torch") is None:
            return None
        from reportcard.model_adapters._chat_models import processor_of

        try:
            if self._folder is None:
                folder = locate(self.weights, FILES).folder
                processor_of(folder)
                self._folder = folder
            return processor_of(self._folder)
        except ReportCardError:
            return None


def _by_task(value: str | Mapping[str, str], option: str) -> dict[str, str]:
    found = {"findings": value} if isinstance(value, str) else dict(value)
    if not found or not all(isinstance(text, str) and text.strip() for text in found.values()):
        raise ReportCardError(f"model.{option} is a text, or a text per task.")
    return found


def _one_of(option: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise ReportCardError(f"model.{option}: {value!r} is none of {', '.join(known)}.")


def _named_fields(context: Sequence[str], instruction: Mapping[str, str]) -> tuple[str, ...]:
    """Return the inputs that the texts name, in the order of FIELDS."""
    from reportcard.model_adapters._shared.chat_prompt import FIELD, FIELDS

    named = set(FIELD.findall("\n".join([*context, *instruction.values()])))
    return tuple(name for name in FIELDS if name in named)
