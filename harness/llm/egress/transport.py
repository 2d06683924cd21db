"""Opens the HTTP client that is held to a permit: httpx2's interface over aiohttp's connections.

httpx2's own transport accepts no address check, and replacing a private attribute of it would fail
open when that attribute is renamed. So this is a transport of its own, made of public parts only.
It serves open data too: httpx2's connections alone take more of a core than 32 slots of 50 ms leave
(benchmarks/judge.py). For guarded data the permit checks every address of a name before the first
is tried, and the address of each socket that is made. TLS and the Host header keep the name. The
environment decides nothing except, for open data, the proxy and the certificates.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

from reportcard.llm.egress.policy import PORTS, EgressError, Origin, Permit

CONNECT_S = 10.0
IDLE_S = 5.0  # an unused connection is closed after this time: servers close theirs silently
# Which of httpx2's errors stands for an error of aiohttp; the first match counts.
ERRORS: tuple[tuple[type[Exception], type[httpx2.TransportError]], ...] = (
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx2.ReadTimeout),
    (aiohttp.ServerDisconnectedError, httpx2.RemoteProtocolError),
    (aiohttp.ClientConnectionError, httpx2.ReadError),
    (aiohttp.ClientHttpProxyError, httpx2.ProxyError),
    (aiohttp.ClientResponseError, httpx2.RemoteProtocolError),  # an answer that is not HTTP
    (aiohttp.ClientPayloadError, httpx2.RemoteProtocolError),
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (aiohttp.ClientError, httpx2.TransportError),
    (ValueError, httpx2.LocalProtocolError),  # a header that cannot be written
)
# These are raised before anything of a request is sent, so their messages are safe to show.
BEFORE_SENDING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def http_client(permit: Permit, timeout_s: float, connections: int) -> httpx2.AsyncClient:
    """Open a client that reaches only the permitted endpoint and follows no redirect.

    Needs a running event loop. Requests raise EgressError for another endpoint, a redirect, or a
    name that now resolves to another place; otherwise httpx2's errors, which for guarded data quote
    nothing that was sent.

    Args:
        permit: the gate's decision.
        timeout_s: limit of each wait for the server (connect, receive), not of the whole request.
        connections: how many are open at a time at most.
    """
    return httpx2.AsyncClient(
        timeout=None,  # GuardedTransport has the limits
        follow_redirects=False,
        trust_env=False,
        transport=GuardedTransport(permit, timeout_s, connections),
    )


class GuardedTransport(httpx2.AsyncBaseTransport):
    """One aiohttp session to the permitted endpoint. Needs a running event loop."""

    def __init__(self, permit: Permit, timeout_s: float, connections: int) -> None:
        self._permit = permit
        self._proxy = None if permit.guarded else proxy_of(permit.origin)
        options: dict[str, Any] = {}
        if permit.guarded:
            options = {"resolver": GuardedResolver(permit), "socket_factory": _sockets(permit)}
        if permit.origin.scheme == "https":
            options["ssl"] = httpx2.create_ssl_context(trust_env=not permit.guarded)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, use_dns_cache=False, keepalive_timeout=IDLE_S, **options
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=min(timeout_s, CONNECT_S), sock_read=timeout_s
            ),
            auto_decompress=False,
            trust_env=False,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; raise EgressError for another endpoint or address, and for a redirect."""
        url, permit = request.url, self._permit
        permit.check_origin(url.scheme, url.host, url.port or PORTS.get(url.scheme, 0))
        content = await request.aread()
        with _as_httpx2():
            answer = await self._session.request(
                request.method,
                URL(str(url), encoded=True),
                headers=[(name.decode(), value.decode()) for name, value in request.headers.raw],
                data=content or None,
                allow_redirects=False,
                proxy=self._proxy,
            )
        if 300 <= answer.status < 400:  # before anyone can follow it
            answer.close()
            raise EgressError(
                f"{permit.origin} answered {answer.status}, a redirect, and redirects are not"
                " followed. Give the final address as judge.base_url."
            )
        return httpx2.Response(answer.status, headers=answer.raw_headers, stream=_Stream(answer))

    async def aclose(self) -> None:
        await self._session.close()


class GuardedResolver(aiohttp.ThreadedResolver):
    """Resolves a name, and returns its addresses only when the permit holds for every one."""

    def __init__(self, permit: Permit) -> None:
        super().__init__()
        self._permit = permit

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[aiohttp.abc.ResolveResult]:
        """Return the addresses of a host; raise EgressError when one is outside the permit."""
        found = await super().resolve(host, port, family)
        self._permit.check_addresses([each["host"] for each in found])
        return found


def _sockets(permit: Permit) -> Any:
    """Return a factory that makes sockets only for permitted addresses.

    The resolver is not enough: aiohttp does not resolve a host that is an address already.
    """

    def make(found: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = found
        permit.check_addresses([str(address[0])])
        return socket.socket(family, kind, protocol)

    return make


def proxy_of(origin: Origin) -> str | None:
    """Return the environment's proxy for an endpoint (HTTPS_PROXY, ALL_PROXY, NO_PROXY, …).

    Raises EgressError for a proxy that does not speak HTTP.
    """
    proxies = getproxies()
    proxy = proxies.get(origin.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise EgressError(
            f"The environment's proxy for {origin} is no http(s) proxy: set"
            f" {origin.scheme.upper()}_PROXY to one, or name {origin.host} in NO_PROXY."
        )
    return proxy


class _Stream(httpx2.AsyncByteStream):
    """The body of a response; reading it raises httpx2's errors."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx2():
            async for part in self._answer.content.iter_any():
                yield part

    async def aclose(self) -> None:
        self._answer.release()  # closes the connection if the body was not read to its end


@contextmanager
def _as_httpx2() -> Iterator[None]:
    """Raise httpx2's errors in place of aiohttp's.

    The message is kept only if nothing had been sent: a later one may quote what the server echoed
    (a status line, a header), and so a report.
    """
    try:
        yield
    except (aiohttp.ClientError, ValueError) as error:
        kind = next(kind for found, kind in ERRORS if isinstance(error, found))
        words = str(error) if isinstance(error, BEFORE_SENDING) else kind.__name__
        raise kind(words) from None
