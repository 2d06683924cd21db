"""OpenAIChat asks a chat model behind an OpenAI-compatible or Azure endpoint.

It serves GPT-4 class APIs, and vLLM, SGLang, llama.cpp or Ollama on this machine:

    model=vllm model.model=google/medgemma-4b-it

Images are sent as lossless PNG inside the request. The same egress rules hold for them as for text:
data that is not open stays on this machine unless conf/egress.yaml allows otherwise
(docs/models/openai_chat.md).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from reportcard.api import (
    Custody,
    Image,
    ImageError,
    Json,
    ModelCard,
    Prediction,
    Report,
    ReportCardError,
    Request,
    StopRunError,
)
from reportcard.model_adapters._shared.chat_prompt import FIELD, ROLES, build_turn
from reportcard.model_adapters._shared.parse_answer import FORMATS, parse_answer
from reportcard.models.chat import ChatAnswer, ChatClient, ChatRequest, ChatSettings
from reportcard.models.staged import Prompt, answered

COMPRESSION = 3  # of PNG, 0 to 9: three times as fast as the default 6, a few per cent larger


class OpenAIChat:
    """OpenAIChat has the options of conf/model/openai_chat.yaml, which explains them."""

    independent = True  # requests are sent one by one, so no batch can change an answer

    def __init__(
        self,
        model: str | None = None,
        base_url: str | None = None,
        kind: str = "openai",
        api_key_env: str | None = None,
        api_version: str | None = None,
        revision: str | None = None,
        system: str | None = None,
        context: Sequence[str] = (),
        instruction: str = "",
        images: Sequence[str] = ("frontal",),
        image_side: int | None = None,
        answer: str = "plain",
        max_new_tokens: int = 512,
        temperature: float | None = 0.0,
        top_p: float | None = None,
        seed: int | None = None,
        concurrency: int = 8,
        timeout_s: float = 120.0,
        patience_s: float = 120.0,
        prices: Mapping[str, float] | None = None,
        budget_usd: float | None = None,
        batch_size: int = 64,
    ) -> None:
        for name, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
            _whole(name, value)
        if image_side is not None:
            _whole("image_side", image_side)
        if answer not in FORMATS:
            raise ReportCardError(f"model.answer is one of {', '.join(FORMATS)}, not {answer!r}.")
        if unknown := [role for role in images if role not in ROLES]:
            raise ReportCardError(f"model.images are of {', '.join(ROLES)}, not {unknown[0]!r}.")
        if not isinstance(prices, Mapping | None):
            raise ReportCardError(f"model.prices must be {{input: …, output: …}}, not {prices!r}.")
        settings = ChatSettings(
            kind, base_url, api_key_env, api_version, model, concurrency, timeout_s, patience_s,
            prices={str(model): prices} if prices else {}, budget_usd=budget_usd,
        )  # fmt: skip
        self.batch_size = batch_size
        self._instruction, self._context, self._images = instruction, tuple(context), tuple(images)
        self._system, self._side, self._answer = system, image_side, answer
        self._max_new_tokens = max_new_tokens
        given = {"temperature": temperature, "top_p": top_p, "seed": seed}
        self._sampling = {name: value for name, value in given.items() if value is not None}
        self._client = ChatClient(settings, system, max_new_tokens)
        self._revision = revision
        self._seen: set[str] = set()
        self._tokens_in = self._tokens_out = 0

    @property
    def card(self) -> ModelCard:
        fields = FIELD.findall("\n".join((*self._context, self._instruction)))
        return ModelCard(
            f"{self._client.settings.model} behind an endpoint ({self._client.settings.kind})",
            inputs=tuple(dict.fromkeys((*self._images, *fields))),
            revision=self._revision,
            needs_pixels=bool(self._images),
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides the answers.

        The endpoint's address is not part of it: a server on another port is the same model, and
        one that answers under another id stops the run.
        """
        settings = self._client.settings
        return {
            "kind": settings.kind,
            "model": settings.model,
            "system": self._system,
            "context": list(self._context),
            "instruction": self._instruction,
            "images": list(self._images),
            "image_side": self._side,
            "answer": self._answer,
            "max_new_tokens": self._max_new_tokens,
            "sampling": self._sampling,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """Who answered, and the tokens and cost of the whole run, including earlier sessions."""
        if not self._seen:
            return ()
        tokens = f"{self._tokens_in:,} tokens in, {self._tokens_out:,} out"
        prices = self._client.settings.prices.get(str(self._client.settings.model))
        if prices:
            millionths = self._tokens_in * prices["input"] + self._tokens_out * prices["output"]
            tokens += f": ${millionths / 1e6:.4f} without discounts or repeated requests"
        return (f"answered by {', '.join(sorted(self._seen))}", tokens)

    def missing(self) -> str | None:
        if not self._instruction.strip() and not any(line.strip() for line in self._context):
            return "model.instruction is not set: say what is to be written"
        return self._client.missing()

    def admit(self, custody: Custody) -> None:
        self._client.admit(custody)

    def resume(self, rows: Sequence[Json]) -> None:
        """Continue a run: keep to the model that answered the rows so far."""
        for row in rows:
            self._count(row.get("answered_by"), row.get("tokens_in"), row.get("tokens_out"))
        if self._seen:
            self._client.answered_by = min(self._seen).partition(" ")[0]

    def prompt(self, request: Request) -> Prompt:
        """Build the prompt. Raises ReportCardError if the request lacks an input that is needed."""
        turn = build_turn(request, self._instruction, self._context, self._images)
        shown = "<image>" * len(turn.images) + ("\n" if turn.images else "") + turn.text
        text = f"[system]\n{self._system}\n[user]\n{shown}" if self._system else shown
        return Prompt(
            text, turn.images, self._max_new_tokens, used=turn.used, left_out=turn.left_out
        )

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        """Ask for one batch of reports.

        Raises StopRunError, which carries the answers so far, if the endpoint is down, the budget
        is spent, or every request fails.
        """
        predictions: dict[int, Prediction] = {}
        chats: dict[int, ChatRequest] = {}
        for n, request in enumerate(requests):
            try:
                chats[n] = self._chat(request)
            except ReportCardError as error:
                kind = f"image {error.kind}: " if isinstance(error, ImageError) else ""
                predictions[n] = _failed(request, f"{kind}{error}")
        asked = self._client.ask(list(chats.values()))
        for n, answer in zip(chats, asked.answers, strict=True):
            if answer is not None:
                predictions[n] = self._prediction(requests[n], answer)
                self._count(answer.answered_by, answer.tokens_in, answer.tokens_out)
        found = [predictions[n] for n in sorted(predictions)]
        if len(found) < len(requests):
            raise StopRunError(
                f"{asked.stopped}. The run stopped and keeps the answers so far; the same command"
                f" continues from there. Cost of this call: {self._client.cost()}.",
                found,
            )
        return found

    def _chat(self, request: Request) -> ChatRequest:
        turn = build_turn(request, self._instruction, self._context, self._images)
        sampling = dict(self._sampling)
        if "seed" in sampling:
            sampling["seed"] += request.draw
        images = tuple(partial(png, image, self._side) for image in turn.images)
        return ChatRequest(turn.text, images, sampling)

    def _prediction(self, request: Request, answer: ChatAnswer) -> Prediction:
        has_text = answer.status in ("ok", "truncated")
        report = parse_answer(self._answer, answer.text, request.phrase) if has_text else Report()
        return Prediction(
            request.study_id,
            report,
            raw=answer.text,
            status="empty" if has_text and not answered(report, answer.text) else answer.status,
            used=build_turn(request, self._instruction, self._context, self._images).used,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            error=answer.reason,
            draw=request.draw,
            answered_by=answer.answered_by,
        )

    def _count(self, by: str | None, tokens_in: int | None, tokens_out: int | None) -> None:
        self._seen |= {by} if by else set()
        self._tokens_in += tokens_in or 0
        self._tokens_out += tokens_out or 0


def png(image: Image, side: int | None = None) -> bytes:
    """Encode an image as 8-bit grey PNG; scale its longer side down to `side` pixels (Lanczos)."""
    import PIL.Image

    picture = PIL.Image.fromarray(image.pixels())
    if side is not None and max(picture.size) > side:
        scale = side / max(picture.size)
        width, height = (max(1, round(length * scale)) for length in picture.size)
        picture = picture.resize((width, height), PIL.Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, "PNG", compress_level=COMPRESSION)
    return target.getvalue()


def _failed(request: Request, reason: str) -> Prediction:
    return Prediction(request.study_id, Report(), status="failed", error=reason, draw=request.draw)


def _whole(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ReportCardError(f"model.{name} must be a whole number from 1 up, not {value!r}.")
