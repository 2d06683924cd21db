"""Sends one question to one OpenAI-compatible or Azure endpoint.

The `openai` SDK writes the address and the headers (key, deployment, API version). Sending, retries
and waiting are ours: which request may be retried depends on the other requests of the run
(batch.py), and the SDK takes longer over a request than a fast endpoint does.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal

from reportcard.api import ImageError, Json, ReportCardError
from reportcard.config.endpoint_settings import EndpointSettings
from reportcard.llm.client.budget import Ledger
from reportcard.llm.client.replies import (
    FatalError,
    PermanentError,
    Reply,
    RequestRejectedError,
    TransientError,
    failure_of,
    read_reply,
)
from reportcard.llm.judge.contract import MAX_ANSWER, Message, Question

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

    from reportcard.llm.egress.policy import Permit

Mode = Literal["json_schema", "json_object", "none"]
MODES: tuple[Mode, ...] = ("json_schema", "json_object", "none")  # best first

MAX_BODY = 10 * MAX_ANSWER  # bytes of one HTTP answer; JSON writes a character in up to 6
UNSET = (None, "", "???")


def preflight(settings: EndpointSettings) -> str | None:
    """Return None when the endpoint can be asked; else what is missing and what to do.

    Needs no network: it checks the installed client, the settings, the key and the prices.
    """
    role = settings.role
    if importlib.util.find_spec("openai") is None:
        return f"the {role}'s client is not installed: pip install 'cxr-reportcard[judge]'"
    needed = {"base_url": settings.base_url, "model": settings.model}
    if settings.kind == "azure":
        needed["api_version"] = settings.api_version
    for name, value in needed.items():
        if value in UNSET:
            return f"{role}.{name} is not set: add {role}.{name}=…"
    if settings.api_key_env and not os.environ.get(settings.api_key_env):
        return f"no key: put it into the environment variable {settings.api_key_env}"
    try:
        Ledger.from_settings(settings)
    except ReportCardError as error:
        return str(error)
    return None


def connect(settings: EndpointSettings, permit: Permit) -> Endpoint:
    """Open connections that reach only the permitted endpoint. Needs a running event loop."""
    from reportcard.llm.egress.transport import http_client

    connections = max(1, int(settings.concurrency))
    return Endpoint(settings, http_client(permit, settings.timeout_s, connections))


@dataclass
class StructuredOutputModes:
    """The structured output modes that the endpoint accepts, for each kind of question.

    A mode is given up only where a lower one worked on the question it failed on: at once if the
    endpoint rejected it, at the second time after a status 500, which may have been an accident
    (llama-cpp-python answers json_schema so). A mode that worked once is never given up.
    """

    setting: str
    _given_up: dict[str, set[Mode]] = field(default_factory=dict)
    _works: set[tuple[str, Mode]] = field(default_factory=set)
    _strikes: Counter[tuple[str, Mode]] = field(default_factory=Counter)

    def candidates(self, question: Question) -> tuple[Mode, ...]:
        """Return the modes to try, best first."""
        if question.schema is None:
            return ("none",)
        if self.setting != "auto":
            return tuple(mode for mode in MODES if mode == self.setting)
        given_up = self._given_up.get(question.kind, set())
        modes = tuple(mode for mode in MODES if mode not in given_up)
        works = [mode for mode in modes if (question.kind, mode) in self._works]
        return (works[0],) if works and works[0] == modes[0] else modes

    def worked(self, question: Question, mode: Mode, rejected: set[Mode], broke: set[Mode]) -> None:
        """Note that a mode worked.

        Args:
            question: the question that was answered.
            mode: the mode that worked.
            rejected: higher modes in which the endpoint rejected the same question just before.
            broke: higher modes in which it answered the same question with a status 500.
        """
        kind = question.kind
        self._works.add((kind, mode))
        for higher in (rejected | broke) - {mode}:
            self._strikes[kind, higher] += 2 if higher in rejected else 1
            if self._strikes[kind, higher] >= 2 and (kind, higher) not in self._works:
                self._given_up.setdefault(kind, set()).add(higher)


class Endpoint:
    """Connections to settings.base_url. `send` needs a running event loop."""

    def __init__(self, settings: EndpointSettings, http_client: httpx2.AsyncClient) -> None:
        http_client.event_hooks["response"].append(_bounded)
        self._client, self._settings = http_client, settings
        self._url, self._headers = _address(settings)
        self._limit_name = "max_tokens"

    async def send(
        self, question: Question, mode: Mode, sampling: Mapping[str, float], max_tokens: int
    ) -> Reply:
        """Send a question once and return the reply.

        The whole exchange has timeout_s, however slowly the bytes arrive. Raises a FailureError, or
        EgressError when the address is not permitted.

        Args:
            question: the conversation and the schema of the answer.
            mode: the structured output that is requested.
            sampling: temperature, top_p, …, as the endpoint names them.
            max_tokens: limit of the answer.
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
            seconds = time.monotonic() - began
            return Reply(None, "an answer too long to read", seconds=seconds)
        if response.is_success:
            return read_reply(response.content, time.monotonic() - began)
        failure = failure_of(
            response.status_code, response.headers, response.content, self._settings
        )
        rejected_limit = isinstance(failure, RequestRejectedError) and failure.param == "max_tokens"
        if rejected_limit and limit_name == "max_tokens":
            # Reasoning models of OpenAI accept the limit only under its newer name.
            self._limit_name = "max_completion_tokens"
            return await self.send(question, mode, sampling, max_tokens)
        raise failure

    async def _body(
        self, question: Question, mode: Mode, sampling: Mapping[str, float], max_tokens: int
    ) -> bytes:
        """Write the request; in a thread where it has images, because encoding takes a while."""

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
        """Return the JSON of a chat completion request; the arguments are those of `send`."""
        format_: Json = {}
        if mode == "json_object":
            format_ = {"response_format": {"type": "json_object"}}
        elif mode == "json_schema":
            name = re.sub(r"\W", "_", question.kind)
            schema = {"name": name, "strict": True, "schema": question.schema}
            format_ = {"response_format": {"type": "json_schema", "json_schema": schema}}
        return {
            "model": self._settings.model,
            "messages": [{"role": m.role, "content": _content(m)} for m in question.messages],
            **sampling,
            self._limit_name: max_tokens,
            **format_,
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _content(message: Message) -> str | list[Json]:
    """Return content parts only where there are images: some servers accept nothing but text."""
    if not message.images:
        return message.content
    urls = (f"data:image/png;base64,{base64.b64encode(i()).decode()}" for i in message.images)
    parts: list[Json] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [*parts, {"type": "text", "text": message.content}]


def _address(settings: EndpointSettings) -> tuple[httpx2.URL, httpx2.Headers]:
    """Return URL and headers of a chat completion, taken from a request that is never sent.

    The SDK writes that request once; writing each of thousands takes it longer than all the rest.
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


def _sdk_client(settings: EndpointSettings, http_client: httpx2.Client) -> OpenAI:
    """Build the SDK's client so that environment variables do not change it."""
    import logging

    import openai

    # At DEBUG the SDK logs whole requests, which hold reports. This must come after the import:
    # importing it with OPENAI_LOG=debug sets the level.
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
    # No argument switches OPENAI_CUSTOM_HEADERS off. A compressed answer could be larger than its
    # bytes, so none is requested.
    client._custom_headers = {"Accept-Encoding": "identity"}
    return client


class _TooLongBodyError(Exception):
    """An HTTP body is longer than MAX_BODY."""


async def _bounded(response: httpx2.Response) -> None:
    """Make reading the body stop at MAX_BODY bytes; an event hook of the HTTP client."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _TooLongBodyError  # compression was not requested; unpacked it may have any size
    response.stream = _bounded_stream()(response.stream)


@cache
def _bounded_stream() -> type:
    """Return the class of a stream that ends with _TooLongBodyError.

    It is made on first use, because httpx2 belongs to an optional extra.
    """
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
