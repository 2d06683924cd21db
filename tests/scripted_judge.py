"""A scripted OpenAI-compatible server on 127.0.0.1, for tests: every fault that a judge can have.

    with ScriptedJudge(lambda request: '{"a": 1}') as server:
        ...  # server.base_url, server.requests

`reply` is called with each request's JSON and gives a text (an ordinary answer) or a `Reply`. It
runs in the server's thread, one call at a time. Standard library only; also a program of its own,
`python -m tests.scripted_judge --latency 0.05 --slots 32 ANSWER`, which prints its base_url.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the server does with one request, after `hang_s` seconds.

    cut: how many bytes of the body are sent before the connection is closed; reset: the connection
    is reset without an answer.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_s: float = 0.0
    reset: bool = False
    cut: int | None = None


@dataclass(frozen=True)
class Logged:
    """A request as it came: JSON, headers in lower case, path, and when (time.monotonic)."""

    json: Json
    headers: Mapping[str, str]
    path: str
    at: float

    @property
    def text(self) -> str:
        """The last message: what is asked."""
        return str(self.json["messages"][-1]["content"])


Script = Callable[[Json], Reply | str]


def answer(
    content: str | None,
    finish_reason: str = "stop",
    model: str | None = None,
    usage: Json | None = None,
    **message: Any,
) -> Reply:
    """An ordinary completion. `model` None: the name that was asked for. 100 tokens in, 10 out."""
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": model or "",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, **(usage or {})},
    }
    return Reply(json.dumps(body).encode())


def error(status: int, code: str | None = None, message: str = "", **headers: str) -> Reply:
    """An error in OpenAI's shape; `retry_after="1"` becomes the header Retry-After."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(json.dumps(body).encode(), status, named)


def rate_limited(retry_after: str | None = None) -> Reply:
    return error(
        429, "rate_limit_exceeded", **({"retry_after": retry_after} if retry_after else {})
    )


def out_of_quota() -> Reply:
    return error(429, "insufficient_quota")


def hang(seconds: float = 60.0) -> Reply:
    return Reply(b"{}", hang_s=seconds)


def reset() -> Reply:
    return Reply(reset=True)


def half_body(content: str = '{"a": 1}') -> Reply:
    """The connection closes in the middle of the HTTP body."""
    whole = answer(content).body
    return Reply(whole, cut=len(whole) // 2)


def half_json(content: str = '{"a": 1}') -> Reply:
    """The body is whole to HTTP, but half a JSON document."""
    whole = answer(content).body
    return Reply(whole[: len(whole) // 2])


def filtered_answer() -> Reply:
    """A content filter that cuts the answer (OpenAI, Azure)."""
    return answer(None, "content_filter")


def filtered_prompt() -> Reply:
    """A content filter that refuses the prompt (Azure)."""
    return error(400, "content_filter", "The response was filtered")


def context_overflow() -> Reply:
    return error(400, "context_length_exceeded", "maximum context length is 4096 tokens")


def redirect(location: str, status: int = 307) -> Reply:
    return Reply(b"", status, {"location": location})


def in_turn(*replies: Reply | str) -> Script:
    """The replies one after the other, the last for ever."""
    left = list(replies)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


class ScriptedJudge:
    """The server. `slots`: how many requests are answered at a time, each after `latency_s`."""

    def __init__(self, reply: Script, latency_s: float = 0.0, slots: int | None = None) -> None:
        self.reply, self.latency_s, self.slots = reply, latency_s, slots
        self.requests: list[Logged] = []
        self.connections = 0
        self.in_flight = self.most_in_flight = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> ScriptedJudge:
        self._thread.start()
        self._free = asyncio.Semaphore(self.slots) if self.slots else None
        self.revive()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def die(self) -> None:
        """Close the port and cut every connection; requests in flight get no answer."""
        asyncio.run_coroutine_threadsafe(self._die(), self._loop).result()

    def revive(self) -> None:
        """Listen again, on the same port."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    async def _listen(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _die(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request on a connection; False when the connection is to be closed."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, path, _ = head[0].split(" ", 2)
        pairs = (line.split(":", 1) for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = json.loads(body) if body else {}
        self.requests.append(Logged(request, headers, path, time.monotonic()))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async with self._free or contextlib.nullcontext():
                reply = self.reply(request)
                if isinstance(reply, str):
                    reply = answer(reply)
                if self.latency_s or reply.hang_s:
                    await asyncio.sleep(self.latency_s + reply.hang_s)
        finally:
            self.in_flight -= 1
        return await self._send(reply, str(request.get("model", "")), writer)

    async def _send(self, reply: Reply, model: str, writer: asyncio.StreamWriter) -> bool:
        if reply.reset:
            linger = struct.pack("ii", 1, 0)  # close() sends RST
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        content = reply.body.replace(b'"model": ""', b'"model": ' + json.dumps(model).encode(), 1)
        fixed = {"content-type": "application/json", "content-length": str(len(content))}
        lines = [f"HTTP/1.1 {reply.status} X", *_lines({**fixed, **reply.headers}), "", ""]
        writer.write("\r\n".join(lines).encode("latin-1") + content[: reply.cut])
        await writer.drain()
        if reply.cut is not None:
            writer.close()
        return reply.cut is None


def _lines(headers: Mapping[str, str]) -> Iterator[str]:
    return (f"{name}: {value}" for name, value in headers.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--slots", type=int)
    parser.add_argument("answers", nargs="+", help="the answer; or SUBSTRING=ANSWER, tried in turn")
    options = parser.parse_args()

    def reply(request: Json) -> str:
        asked = "\n".join(str(message["content"]) for message in request["messages"])
        for each in options.answers:
            needle, equals, text = each.partition("=")
            if not equals or needle in asked:
                return text if equals else each
        return ""

    with ScriptedJudge(reply, options.latency, options.slots) as server:
        print(server.base_url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()  # until whoever started it goes away


if __name__ == "__main__":
    main()
