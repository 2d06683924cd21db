"""One request to one OpenAI-compatible or Azure endpoint, and what its failures mean.

The `openai` SDK writes its address and headers (key, deployment, API version). Sending, retries,
waiting and the reading of answers are ours: what may be retried depends on the other requests of
the run (harness/asking.py), and the SDK takes longer over a request than a fast endpoint.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from reportcard.api import ImageError, Json
from reportcard.config.settings import JudgeSettings
from reportcard.llm.client.budget import Usage
from reportcard.llm.client.endpoint_errors import (
    FatalError,
    PermanentError,
    TransientError,
    of_status,
)
from reportcard.llm.client.redact import FINISHES, safe_id, word
from reportcard.llm.judge.contract import MAX_ANSWER, Message, Question

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

Mode = Literal["json_schema", "json_object", "none"]

EMPTY, REFUSES = "an empty answer", "the model refuses to answer"  # `bad` of an Answer
MAX_BODY = 10 * MAX_ANSWER  # bytes of one HTTP answer; JSON writes a character in up to 6


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back: the content, or why there is none (`bad`)."""

    content: str | None
    bad: str | None
    finish: str | None
    model: str | None
    usage: Usage | None
    fingerprint: str | None
    seconds: float

    def record(self, mode: str, sampling: Mapping[str, float], max_tokens: int) -> Json:
        """As the cache keeps it."""
        usage = self.usage
        return {
            "answer": self.content,
            "bad": self.bad,
            "finish_reason": self.finish,
            "model": self.model,
            "usage": [usage.tokens_in, usage.cached_in, usage.tokens_out] if usage else None,
            "system_fingerprint": self.fingerprint,
            "seconds": round(self.seconds, 3),
            "structured": mode,
            "sampling": dict(sampling),
            "max_tokens": max_tokens,
        }


class Endpoint:
    """A connection pool to settings.base_url; needs a running event loop for `send`."""

    def __init__(self, settings: JudgeSettings, http_client: httpx2.AsyncClient) -> None:
        http_client.event_hooks["response"].append(_bounded)
        self._client, self._settings = http_client, settings
        self._url, self._headers = _address(settings)
        self._limit_name = "max_tokens"

    async def send(
        self, question: Question, mode: Mode, sampling: Mapping[str, float], max_tokens: int
    ) -> Completion:
        """Raises one of the failures above, or ReportCardError when the address is not permitted.

        The whole exchange has timeout_s, however slowly the bytes drip.
        """
        import httpx2

        began, limit_name = time.monotonic(), self._limit_name
        content = await self._body(question, mode, sampling, max_tokens)
        try:
            request = httpx2.Request("POST", self._url, headers=self._headers, content=content)
            async with asyncio.timeout(self._settings.timeout_s):
                response = await self._client.send(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise TransientError("no connection") from None
        except (TimeoutError, httpx2.TimeoutException):
            limit = f"{self._settings.timeout_s:g} s"
            raise TransientError(f"no answer within {limit}", billed=True) from None
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL):
            raise FatalError(f"{self._settings.role}.base_url is no http(s) address") from None
        except httpx2.RequestError:
            raise TransientError("the connection was lost", billed=True) from None
        except _TooLongBodyError:
            return _no_content("an answer too long to read", began)
        if response.is_success:
            return _read(response.content, began)
        failure = of_status(
            response.status_code, response.headers, response.content, self._settings
        )
        if getattr(failure, "param", None) == "max_tokens" and limit_name == "max_tokens":
            # Reasoning models of OpenAI take the limit under its newer name only.
            self._limit_name = "max_completion_tokens"
            return await self.send(question, mode, sampling, max_tokens)
        raise failure

    async def _body(
        self, question: Question, mode: Mode, sampling: Mapping[str, float], max_tokens: int
    ) -> bytes:
        """The request in bytes; one with images is made in a thread, since it takes a while."""

        def write() -> bytes:
            return json.dumps(self.payload(question, mode, sampling, max_tokens)).encode()

        if not any(message.images for message in question.messages):
            return write()
        try:
            return await asyncio.to_thread(write)
        except ImageError as error:
            raise PermanentError(f"image {error.kind}: {error}") from None

    def payload(
        self, question: Question, mode: Mode, sampling: Mapping[str, float], max_tokens: int
    ) -> Json:
        body: Json = {
            "model": self._settings.model,
            "messages": [{"role": m.role, "content": _content(m)} for m in question.messages],
            **sampling,
            self._limit_name: max_tokens,
        }
        if mode == "json_object":
            body["response_format"] = {"type": "json_object"}
        elif mode == "json_schema":
            name = re.sub(r"\W", "_", question.kind)
            schema = {"name": name, "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    async def close(self) -> None:
        await self._client.aclose()


def _content(message: Message) -> str | list[Json]:
    """Content parts only where there are images: some servers take nothing but text."""
    if not message.images:
        return message.content
    urls = (f"data:image/png;base64,{base64.b64encode(i()).decode()}" for i in message.images)
    parts: list[Json] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [*parts, {"type": "text", "text": message.content}]


def _address(settings: JudgeSettings) -> tuple[httpx2.URL, httpx2.Headers]:
    """URL and headers of a chat completion, from a request that the SDK writes and nobody gets.

    Writing each of thousands anew costs it more than all the rest of a question.
    """
    import httpx2

    written: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        written.append(request)
        return httpx2.Response(200, json={})

    with _sdk_client(settings, httpx2.Client(transport=httpx2.MockTransport(keep))) as client:
        client.post("/chat/completions", cast_to=httpx2.Response, body={"model": settings.model})
    (request,) = written
    headers = request.headers.copy()
    del headers["content-length"]
    return request.url, headers


def _sdk_client(settings: JudgeSettings, http_client: httpx2.Client) -> OpenAI:
    """The SDK's client, deaf to its environment variables."""
    import logging

    import openai

    # At DEBUG the SDK logs whole requests, and those hold reports. Only now: to be imported with
    # OPENAI_LOG=debug sets the level.
    log = logging.getLogger("openai")
    log.setLevel(max(log.getEffectiveLevel(), logging.INFO))

    key = (os.environ.get(settings.api_key_env, "") if settings.api_key_env else "") or "none"
    assert settings.base_url is not None
    client: OpenAI
    if settings.kind == "azure":
        client = openai.AzureOpenAI(
            azure_endpoint=settings.base_url,
            api_version=settings.api_version,
            api_key=key,
            max_retries=0,
            http_client=http_client,
        )
    else:
        client = openai.OpenAI(
            base_url=settings.base_url, api_key=key, max_retries=0, http_client=http_client
        )
    client.organization = client.project = None
    # OPENAI_CUSTOM_HEADERS has no argument that would switch it off. A compressed answer could be
    # larger than its bytes, so none is asked for.
    client._custom_headers = {"Accept-Encoding": "identity"}
    return client


class _TooLongBodyError(Exception):
    """An HTTP body over MAX_BODY."""


async def _bounded(response: httpx2.Response) -> None:
    """An event hook: reading the body stops at MAX_BODY bytes."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _TooLongBodyError  # nobody asked for it; unpacked it may have any size
    response.stream = _bounded_stream()(response.stream)


@cache
def _bounded_stream() -> type:
    """A stream that ends with _TooLongBodyError; made when httpx2 is there to derive it from."""
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, inner: httpx2.AsyncByteStream) -> None:
            self._inner = inner

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self._inner:
                size += len(chunk)
                if size > MAX_BODY:
                    raise _TooLongBodyError
                yield chunk

        async def aclose(self) -> None:
            await self._inner.aclose()

    return Bounded


def _no_content(reason: str, began: float) -> Completion:
    return Completion(None, reason, None, None, None, None, time.monotonic() - began)


def _read(body: bytes, began: float) -> Completion:
    """Parse the body of a 200; raise TransientError when it is no chat completion."""
    try:
        value = json.loads(body)
        choice = value["choices"][0]
        message = choice["message"]
        finish = choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise TransientError("the endpoint's answer is no chat completion", billed=True) from None
    if isinstance(content, list):  # content parts: text, and a reasoning model's thoughts
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    bad = None
    if refusal:
        content, bad = None, REFUSES
    elif not isinstance(content, str) or not content.strip():
        content, bad = None, EMPTY
    elif len(content) > MAX_ANSWER:
        content, bad = None, f"an answer of more than {MAX_ANSWER:,} characters"
    model, fingerprint = value.get("model"), value.get("system_fingerprint")
    return Completion(
        content,
        bad,
        word(finish, FINISHES),
        model if isinstance(model, str) and model else None,
        Usage.of(value.get("usage")),
        safe_id(fingerprint) if isinstance(fingerprint, str) else None,
        time.monotonic() - began,
    )
