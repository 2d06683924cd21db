"""Reads what an endpoint sends back: the answer, or which kind of failure it was.

This is the only module that parses a provider's JSON. A reply may hold anything: a hostile or
broken server may put a report wherever a string fits. So no prose of the server is passed on, only
model ids (`safe_id`) and known code words (`known_word`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from reportcard.api import Json
from reportcard.config.endpoint_settings import EndpointSettings
from reportcard.llm.judge.contract import EMPTY as EMPTY
from reportcard.llm.judge.contract import MAX_ANSWER, ONLY_THOUGHTS

# Reasons for a reply without an answer (`Reply.bad`) or for a failure.
REFUSES = "the model refuses to answer"
CONTENT_FILTER = "content filter"
# Where endpoints put thoughts, which are never read: DeepSeek's API, SGLang and vLLM
# (reasoning_content), newer vLLM, OpenRouter and Ollama (reasoning, reasoning_details), LiteLLM
# (thinking_blocks), and Ollama's own API (thinking).
THOUGHTS = (
    "reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks"
)  # fmt: skip
THOUGHT_PART = re.compile("think|thought|reason")  # in the type of a content part (Mistral)

OVERFLOW = re.compile(
    r"context[_ ](length|size|window)|maximum context|exceed_context|exceeds? the .*context"
    r"|longer than the model's context|too many tokens|prompt is too long"
)
NO_MODEL = re.compile(
    r"model_not_found|deploymentnotfound|model\b.{0,100}?(not found|does ?n[o']t exist|not exist)"
)
ID = re.compile(r"[A-Za-z0-9_./:@+~-]{1,100}", re.ASCII)  # no blank, so no sentence; no "|"
CODES = re.compile(  # of OpenAI, Azure, vLLM and llama.cpp
    r"\d{3}|tokens|content_filter|context_length_exceeded|exceed_context_size_error"
    r"|insufficient_quota|rate_limit_exceeded|model_not_found|DeploymentNotFound"
    r"|invalid_(api_key|model|type|value|request_error)|(not_found|server|unavailable)_error"
    r"|(BadRequest|NotFound|Authentication|InternalServer)Error|unsupported_(parameter|value)"
)
PARAMS = re.compile(
    "messages|max_tokens|max_completion_tokens|model|response_format|seed|temperature|top_p"
)
FINISHES = re.compile("stop|length|content_filter|tool_calls|function_call")


class FailureError(Exception):
    """The endpoint gave no answer. The message is a reason that a verdict can carry.

    FailureError
    ├── TransientError         trying again may help
    ├── RequestRejectedError   this request is not accepted; another structured output may be
    ├── PermanentError         this question will never be answered
    ├── TooLongError           this question does not fit the model's context
    └── FatalError             no question will be answered: stop
    """


class TransientError(FailureError):
    """The same request may succeed later.

    wait_s   what Retry-After asks for, in seconds
    status   the HTTP status; None when there was no response
    billed   the request had been sent, so the provider may charge for it
    """

    def __init__(
        self,
        reason: str,
        wait_s: float | None = None,
        status: int | None = None,
        billed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.wait_s, self.status, self.billed = wait_s, status, billed

    @property
    def limited(self) -> bool:
        """Whether the endpoint said that there were too many requests (HTTP 429)."""
        return self.status == 429


class RequestRejectedError(FailureError):
    """The endpoint does not accept such a request (400, 404, 422); another mode may work."""

    def __init__(self, reason: str, status: int, param: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.param = status, param


class PermanentError(FailureError):
    """This question will never be answered, so the reason is cached as its verdict."""


class TooLongError(FailureError):
    """This question is too long, until the server is given a larger context."""


class FatalError(FailureError):
    """No further question can be answered, for example because the key is wrong."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call as the endpoint counted them; `cached_in` is part of `tokens_in`."""

    tokens_in: int = 0
    cached_in: int = 0
    tokens_out: int = 0

    @classmethod
    def from_json(cls, found: Any) -> Usage | None:
        """Read the `usage` of a completion; None where it is absent or makes no sense."""
        if not isinstance(found, dict):
            return None
        details = found.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else 0
        counts: list[Any] = [
            found.get("prompt_tokens"),
            cached or 0,
            found.get("completion_tokens") or 0,
        ]
        if any(type(count) is not int or not 0 <= count < 10**9 for count in counts):
            return None
        return cls(counts[0], min(counts[1], counts[0]), counts[2])

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.tokens_in + other.tokens_in,
            self.cached_in + other.cached_in,
            self.tokens_out + other.tokens_out,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of the endpoint: its content, or in `bad` the reason why there is none."""

    content: str | None
    bad: str | None = None
    finish: str | None = None
    model: str | None = None
    usage: Usage | None = None
    fingerprint: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ReplyRecord:
    """A reply with the request options that produced it, as the verdict cache stores it."""

    reply: Reply
    structured: str
    sampling: Mapping[str, float]
    max_tokens: int

    def to_json(self) -> Json:
        """Return the JSON object that the verdict cache stores."""
        reply, usage = self.reply, self.reply.usage
        return {
            "answer": reply.content,
            "bad": reply.bad,
            "finish_reason": reply.finish,
            "model": reply.model,
            "usage": [usage.tokens_in, usage.cached_in, usage.tokens_out] if usage else None,
            "system_fingerprint": reply.fingerprint,
            "seconds": round(reply.seconds, 3),
            "structured": self.structured,
            "sampling": dict(self.sampling),
            "max_tokens": self.max_tokens,
        }


def read_reply(body: bytes, seconds: float) -> Reply:
    """Parse the body of a response with status 200.

    Raises TransientError when it is no chat completion (a proxy's page, half a JSON).
    """
    try:
        value = json.loads(body)
        choice = value["choices"][0]
        message = choice["message"]
        finish = choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise TransientError("the endpoint's answer is no chat completion", billed=True) from None
    thought = any(message.get(name) for name in THOUGHTS)
    if isinstance(content, list):  # content parts: text, and a reasoning model's thoughts
        parts = [part for part in content if isinstance(part, dict)]
        texts = [part.get("text") for part in parts if not _is_thought(part)]
        thought |= any(map(_is_thought, parts))
        content = "".join(text for text in texts if isinstance(text, str))
    bad = None
    if refusal:
        content, bad = None, REFUSES
    elif not isinstance(content, str) or not content.strip():
        content, bad = None, ONLY_THOUGHTS if thought else EMPTY
    elif len(content) > MAX_ANSWER:
        content, bad = None, f"an answer of more than {MAX_ANSWER:,} characters"
    model, fingerprint = value.get("model"), value.get("system_fingerprint")
    return Reply(
        content,
        bad,
        known_word(finish, FINISHES),
        model if isinstance(model, str) and model else None,
        Usage.from_json(value.get("usage")),
        safe_id(fingerprint) if isinstance(fingerprint, str) else None,
        seconds,
    )


def _is_thought(part: Json) -> bool:
    """Return whether a part of a message's content holds thoughts."""
    return THOUGHT_PART.search(str(part.get("type")).lower()) is not None


def failure_of(
    status: int, headers: Mapping[str, str], body: bytes, settings: EndpointSettings
) -> FailureError:
    """Return the failure that an HTTP status other than 200 stands for.

    Args:
        status: the HTTP status.
        headers: of the response, for Retry-After.
        body: of the response; its JSON may name an error code.
        settings: name the model, address and key in the message.
    """
    code, param, said = _error_fields(body)
    what = f"HTTP {status}" + (f" {code}" if code else "") + (f" {param}" if param else "")
    if "content_filter" in said or "responsibleaipolicyviolation" in said:
        return PermanentError(CONTENT_FILTER)
    if status == 413 or (status in (400, 422) and OVERFLOW.search(said)):
        return TooLongError("too long for the model's context")
    if status == 402 or "insufficient_quota" in said:
        return FatalError(f"the account has no credit left ({what}): top it up and run again")
    if status in (401, 403):
        key = settings.api_key_env or f"{settings.role}.api_key_env, which is not set"
        return FatalError(f"the endpoint refuses the key ({what}): look at {key}")
    if status == 405 or (status in (400, 404) and NO_MODEL.search(said)):
        return FatalError(no_such_model(settings, what))
    if 300 <= status < 400:
        return FatalError(f"the endpoint redirects ({what}): give its own address as base_url")
    if status in (408, 409, 425, 429) or status >= 500:
        return TransientError(what, retry_after(headers), status)
    return RequestRejectedError(f"the endpoint refuses the request ({what})", status, param)


def no_such_model(settings: EndpointSettings, what: str) -> str:
    """Return the message that the endpoint does not know the model."""
    return (
        f"no model {settings.model} at {settings.base_url} ({what}): look at {settings.role}.model"
        f" and {settings.role}.base_url"
    )


def _error_fields(content: bytes) -> tuple[str | None, str | None, str]:
    """Return (code, parameter, everything in lower case); only the first two are safe to show."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    error = body.get("error", body) if isinstance(body, dict) else None
    fields = error if isinstance(error, dict) else {}

    code = known_word(fields.get("code"), CODES) or known_word(fields.get("type"), CODES)
    said = content[:20_000].decode("utf-8", "replace").lower()
    return code, known_word(fields.get("param"), PARAMS), said


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After-Ms, or Retry-After as seconds or a date (RFC 9110 10.2.3), as seconds."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, min(float(headers["retry-after-ms"]) / 1000, 1e6))
        text = headers.get("retry-after")
        if text is None:
            return None
        if re.fullmatch(r"\s*\d+(\.\d*)?\s*", text):
            return min(float(text), 1e6)
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def safe_id(value: str, texts: Iterable[str] = (), name: str | None = None) -> str:
    """Return a model's id if it is safe to show, else its digest (`sha256:1a2b3c4d`).

    Two runs of one server agree even where only the digest is shown.

    Args:
        value: the id that the server gave.
        texts: what was asked about. An id that occurs in them is an echo of a report.
        name: the model that was asked for. An id that begins with it is never an echo.

    >>> safe_id("gpt-4o-2024-08-06"), safe_id("The heart is large.")
    ('gpt-4o-2024-08-06', 'sha256:1c004392')
    """
    asked_for = bool(name) and value.startswith(str(name))
    if ID.fullmatch(value) and (asked_for or not _occurs_in(value, texts)):
        return value
    return f"sha256:{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _occurs_in(value: str, texts: Iterable[str]) -> bool:
    return any(
        value in text and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) for text in texts
    )


def known_word(value: object, known: re.Pattern[str]) -> str | None:
    """Return a code word of the server if it is one of the known ones, else None."""
    return value if isinstance(value, str) and known.fullmatch(value) else None
