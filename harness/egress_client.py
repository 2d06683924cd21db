"""The client behind harness/egress.py: httpx2 over connections that a permit is asked about.

httpx2's own transport takes no network backend, and reaching into it would fail open with the next
rename of a private attribute. So guarded data has a transport of its own, made of public parts
only: httpcore2's pool over a backend that resolves a name once, asks the permit about every
address, and connects to one of those. The server name of TLS and the Host header stay the name's.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

import anyio
import httpcore2
import httpx2

from harness.egress import PORTS, EgressError, Permit

CONNECT_S = 10.0
# Nothing of a request has been sent when these are raised, so their words are safe to show.
BEFORE_SENDING = (httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.PoolTimeout)


def open_client(permit: Permit, timeout_s: float, connections: int) -> httpx2.AsyncClient:
    """See harness.egress.http_client."""

    async def check_request(request: httpx2.Request) -> None:
        url = request.url
        permit.check_endpoint(url.scheme, url.host, url.port or PORTS.get(url.scheme, 0))

    async def check_response(response: httpx2.Response) -> None:
        # The hook runs before a redirect is followed, whatever the caller asked for.
        if 300 <= response.status_code < 400:
            raise EgressError(
                f"{permit.endpoint} answered {response.status_code}, a redirect, and redirects are"
                " not followed. Give the final address as judge.base_url."
            )

    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=False,
        trust_env=not permit.guarded,
        transport=GuardedTransport(permit, connections) if permit.guarded else None,
        event_hooks={"request": [check_request], "response": [check_response]},
    )


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to the permitted endpoint, at an address that has been checked."""

    def __init__(self, permit: Permit) -> None:
        self._permit = permit
        self._sockets = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises EgressError when any address of the name is outside the permit."""
        self._permit.check_endpoint(self._permit.endpoint.scheme, host, port)
        addresses = await _resolve(host, port, timeout)
        self._permit.check_addresses(addresses)
        failure: Exception = httpcore2.ConnectError("no address")
        for address in addresses:
            try:
                return await self._sockets.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise EgressError("A Unix socket is not an endpoint that can be checked.")

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def _resolve(host: str, port: int, timeout: float | None) -> list[str]:
    try:
        with anyio.fail_after(timeout):
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore2.ConnectTimeout(f"{host} was not resolved in time") from None
    except OSError as error:
        raise httpcore2.ConnectError(f"{host} does not resolve: {error}") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Requests over the guarded backend, with the certificates of this machine's trust store."""

    def __init__(self, permit: Permit, connections: int) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=5.0,
            network_backend=GuardedBackend(permit),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        inner = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx2():
            answer = await self._pool.handle_async_request(inner)
        assert isinstance(answer.stream, AsyncIterable)
        return httpx2.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Stream(answer.stream),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Stream(httpx2.AsyncByteStream):
    """A response's body, with httpx2's errors."""

    def __init__(self, inner: AsyncIterable[bytes]) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx2():
            async for part in self._inner:
                yield part

    async def aclose(self) -> None:
        close = getattr(self._inner, "aclose", None)
        if close is not None:
            await close()


@contextmanager
def _as_httpx2() -> Iterator[None]:
    """httpcore2's errors as httpx2's of the same name.

    Their words are kept only from before anything was sent: later ones may quote what a server
    echoed (a status line, a header), and so a report.
    """
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol,
    ) as error:
        name = type(error).__name__
        kind: type[httpx2.TransportError] = getattr(httpx2, name, httpx2.TransportError)
        raise kind(str(error) if isinstance(error, BEFORE_SENDING) else name) from None
