"""Any chat model with images that transformers knows, described by a YAML file alone.

    reportcard generate requests.jsonl model=medgemma_4b model.weights=FOLDER --out OUT.jsonl

The presets in conf/model say what each is asked and how its answer is read; nothing here knows one
of them. Prompt and parsing need no weights (_instructions.py, _answers.py), the processor and the
model come out of _chat_models.py. docs/models/huggingface.md has the table of presets.
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
from reportcard.model_adapters._answers import KINDS, read
from reportcard.model_adapters._checkpoint import here, identity_of, packages_problem, revision_of
from reportcard.model_adapters._instructions import ROLES, Asked, asked, fields
from reportcard.models.checkpoints import fetch, locate
from reportcard.models.staged import Completion, Prepared, Prompt, StagedAdapter, decoding_of

PACKAGES = ("torch", "transformers", "safetensors")
FILES = ("config.json", "tokenizer_config.json")
NEEDS = (*FILES, "*.safetensors")


class HuggingFace(StagedAdapter):
    """A chat model with images from a Hugging Face checkpoint, described by its YAML file.

    instruction  what the user says, or one text per task; {indication} and the other fields of
                 _instructions.py are filled in, a line whose field the request lacks is left out
    context      such lines to go before the instruction
    system       the system's turn; None: no such turn
    images       which views, in order: frontal, lateral, prior
    image_first  images before the text of the turn, or after it
    answer       how the text is read (_answers.py), or one way per task
    processor    options of the checkpoint's own processor, as max_pixels of Qwen's
    paper_dtype  what dtype=auto means on CUDA
    repository   where the weights are published; licence and trained_on go to the card
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
            _one_of("answer", kind, KINDS)
        for role in images:
            _one_of("images", role, ROLES)
        _one_of("paper_dtype", paper_dtype, ("float32", "bfloat16", "float16"))
        self.context, self.system, self.roles = tuple(context), system, tuple(images)
        self.image_first, self.options = image_first, dict(processor or {})
        self.paper_dtype, self.repository = paper_dtype, repository
        self._card = (description, licence, tuple(trained_on))
        self._model: Any = None
        self._ends: tuple[int, ...] = ()
        self._folder: Path | None = None
        self._one_at_a_time = Lock()  # a fast tokenizer panics when two threads are in it

    @property
    def card(self) -> ModelCard:
        description, licence, trained_on = self._card
        return ModelCard(
            description,
            inputs=("images", *_words(self.context, self.instruction)),
            weights=self.repository,
            revision=revision_of(self.weights),
            licence=licence,
            trained_on=trained_on,
            url=f"https://huggingface.co/{self.repository}" if self.repository else None,
            needs_pixels=True,
            draws=self.sampling.draws if self.sampling else 1,
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "weights": identity_of(self.weights),
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
        if problem := packages_problem(PACKAGES):
            return problem
        if not self.weights and self.repository:
            return (
                f"no weights given: model.weights=FOLDER, or {self.repository}@<40 hex digits>, a"
                f" commit listed at https://huggingface.co/{self.repository}/commits"
            )
        try:
            from reportcard.model_adapters._chat_models import check, memory
            from reportcard.model_adapters._torch import device_of

            found = here(self.weights, NEEDS)
            if found is None:  # to be downloaded
                device_of(self)
                return None
            check(found.folder, self)
            return memory(found.folder, self)
        except ReportCardError as error:
            return str(error)

    def prompt(self, request: Request) -> Prompt:
        said = self._asked(request)
        text, ids = said.text, None
        processor = self._processor()
        if processor is not None:
            token = getattr(processor, "image_token", None)
            if token and token in said.text:
                raise ReportCardError(
                    f"{token} stands in a text of the study itself, where the model would look for"
                    " an image."
                )
            self._refuse_control(processor.tokenizer, request)
            turns = self._turns(said, [None] * len(said.images))
            with self._one_at_a_time:
                text = processor.apply_chat_template(turns, add_generation_prompt=True)
                bos = processor.tokenizer.bos_token
                twice = bool(bos) and text.startswith(bos)
                ids = tuple(processor.tokenizer(text, add_special_tokens=not twice)["input_ids"])
        elif self.system:
            text = f"{self.system}\n{text}"
        limit = self.max_new_tokens or 0
        return Prompt(text, said.images, limit, ids, said.used, said.left_out)

    def pixels(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """RGB (height, width, 3), whole: the checkpoint's processor scales it."""
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
        """Rows with as many images share a pass: Mllama's answers change with padded images."""
        found: dict[int, Completion] = {}
        for count in {len(p.pixels) for p in batch}:
            rows = [n for n, p in enumerate(batch) if len(p.pixels) == count]
            alike = self._complete([batch[n] for n in rows])
            found.update(zip(rows, alike, strict=True))
        return [found[n] for n in range(len(batch))]

    def _complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        from reportcard.model_adapters._chat_models import answers, processor_options

        turns = [self._turns(self._asked(p.request), p.pixels) for p in batch]
        processor = self._processor()
        if processor is None:
            raise ReportCardError(
                f"model.weights: the processor of {self.weights} is not on this machine any more."
            )
        options = processor_options(processor, self.options)
        with self._one_at_a_time:
            inputs = processor.apply_chat_template(
                turns,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs=options,
            )
        found = answers(self, self._model, inputs, batch, self._ends, processor.tokenizer)
        with self._one_at_a_time:
            return [
                Completion(
                    processor.tokenizer.decode(a.ids, skip_special_tokens=True),
                    a.ids,
                    a.finished,
                    a.tokens_in,
                )
                for a in found
            ]

    def report(self, prepared: Prepared, completion: Completion) -> Report:
        task = prepared.request.task
        kind = self.answer.get(task) or self.answer.get("findings", "plain")
        return read(kind, completion.text, prepared.request.phrase)

    def close(self) -> None:
        if self._model is not None:
            self._model = None
            self.free()

    def _asked(self, request: Request) -> Asked:
        instruction = self.instruction.get(request.task)
        if instruction is None and request.task in ("findings+impression", "grounded_findings"):
            instruction = self.instruction.get("findings")
        if instruction is None:
            raise ReportCardError(
                f"this model has no instruction for {request.task}, only for"
                f" {', '.join(self.instruction)}: give model.instruction.{request.task}."
            )
        context = () if request.task == "phrase_grounding" else self.context
        return asked(request, instruction, context, self.roles)

    def _refuse_control(self, tokenizer: Any, request: Request) -> None:
        """Raises ReportCardError where a text of the study would be read as a control token."""
        added = tokenizer.added_tokens_decoder.values()
        control = {*tokenizer.all_special_tokens, *(t.content for t in added if t.special)}
        for name, value in fields(request).items():
            spelled = next((token for token in sorted(control) if token and token in value), None)
            if spelled:
                raise ReportCardError(
                    f"{spelled} stands in the study's {name}, where the model would read a control"
                    " token. Change the text."
                )

    def _turns(self, said: Asked, pixels: Sequence[Any]) -> list[dict[str, Any]]:
        import PIL.Image

        images: list[dict[str, Any]] = [
            {"type": "image"}
            if array is None
            else {"type": "image", "image": PIL.Image.fromarray(array)}
            for array in pixels
        ]
        words: list[dict[str, Any]] = [{"type": "text", "text": said.text}]
        content = images + words if self.image_first else words + images
        turns = [{"role": "user", "content": content}]
        if self.system:
            system = [{"type": "text", "text": self.system}]
            turns.insert(0, {"role": "system", "content": system})
        return turns

    def _processor(self) -> Any:
        """The checkpoint's; None where it is not on this machine, or transformers is not."""
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


def _words(context: Sequence[str], instruction: Mapping[str, str]) -> tuple[str, ...]:
    """The fields that the texts name, in the order in which they are known."""
    from reportcard.model_adapters._instructions import FIELD, FIELDS

    named = set(FIELD.findall("\n".join([*context, *instruction.values()])))
    return tuple(name for name in FIELDS if name in named)
