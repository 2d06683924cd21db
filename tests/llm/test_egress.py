"""Text of a dataset goes only where its agreement permits, as observed at the sockets."""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reportcard.api import DatasetCard
from reportcard.llm.egress.policy import EgressError, Permit, permit
from reportcard.llm.egress.transport import http_client

openai = pytest.importorskip("openai", reason="the judge extra")
httpx2 = pytest.importorskip("httpx2", reason="the judge extra")

TODAY = datetime.date(2026, 6, 1)
FOREIGN = "192.0.2.1"  # TEST-NET-1: nobody is there
CANARY = "canary-finding-7391"
MIMIC = DatasetCard("MIMIC", "credentialed", "physionet-mimic-cxr")
OPEN = DatasetCard("Open-I", "open")
ENTRY = {
    "dua_id": "physionet-mimic-cxr",
    "endpoint": "https://judge.example",
    "approver": "The data steward, file 12",
    "date": datetime.date(2026, 1, 31),
    "expires": datetime.date(2026, 12, 31),
    "zero_retention": "clause 4",
    "no_training": "clause 5",
    "no_human_review": "clause 6",
}
ANSWER = {
    **{"id": "1", "object": "chat.completion", "created": 1, "model": "m"},
    "choices": [
        {
            **{"index": 0, "finish_reason": "stop"},
            "message": {"role": "assistant", "content": "fine"},
        }
    ],
}

connects: list[Any] = []  # of every socket of this process since the test began
sys.addaudithook(
    lambda event, args: connects.append(args[1]) if event == "socket.connect" else None
)


@pytest.fixture(autouse=True)
def clean_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    connects.clear()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The name service of these tests: no other name resolves, and no query leaves."""
    table = {"localhost": ["::1", "127.0.0.1"], "judge.example": ["203.0.113.7"]}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        host = host.decode() if isinstance(host, bytes) else host
        if host.replace(".", "").isdigit() or ":" in host:
            return real(host, port, *args, **kwargs)
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [row for ip in table[host] for row in real(ip, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return table


class Server:
    """An OpenAI-compatible server on 127.0.0.1 that keeps the bodies it was sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.hosts: list[str] = []
        self.answer: Callable[[BaseHTTPRequestHandler, bytes], None] = say_fine
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies.append(body)
                outer.hosts.append(self.headers["Host"])
                outer.answer(self, body)

            def log_message(self, *args: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_port
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/v1"


def say_fine(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    answer = json.dumps(ANSWER).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(answer)))
    handler.end_headers()
    handler.wfile.write(answer)


def redirect(status: int, to: str) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.http.shutdown()
    one.http.server_close()


@pytest.fixture
def proxy() -> Iterator[Server]:
    one = Server()
    yield one
    one.http.shutdown()
    one.http.server_close()


def ask(allowed: Permit, base_url: str | None, times: int = 1, timeout_s: float = 20) -> list[str]:
    """Ask through the SDK as the judge does, with retries, which must not help."""

    async def conversation() -> list[str]:
        client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key="k",
            max_retries=2,
            http_client=http_client(allowed, timeout_s, 2),
        )
        async with client:
            answers = [
                await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": CANARY}]
                )
                for _ in range(times)
            ]
        return [answer.choices[0].message.content for answer in answers]

    return asyncio.run(conversation())


def write_rules(folder: Path, *entries: Any) -> Path:
    import yaml

    path = folder / "egress.yaml"
    path.write_text(yaml.safe_dump(list(entries)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://localhost:8103/v1",
            "http://127.0.0.1:8103/v1",
            "http://127.8.8.8",
            "http://[::1]",
        ),
        *("http://[::ffff:127.0.0.1]:80/v1", "https://LOCALHOST", "http://here.example"),
    ],
)
@pytest.mark.parametrize("data_class", ["registered", "credentialed", "anything"])
def test_any_text_may_stay_on_this_machine(
    url: str, data_class: Any, names: dict[str, list[str]]
) -> None:
    names["here.example"] = ["127.0.0.1"]
    assert permit(DatasetCard("D", data_class, None), url).guarded


@pytest.mark.parametrize(
    "url",
    [
        *("http://0.0.0.0:8103", "http://10.0.0.1", f"http://{FOREIGN}", "http://[::]"),
        *(f"http://[::ffff:{FOREIGN}]", "http://nowhere.example", "http://both.example"),
        *("https://judge.example", "http://localhost.judge.example"),
    ],
)
def test_text_under_an_agreement_goes_nowhere_else(url: str, names: dict[str, list[str]]) -> None:
    names["both.example"] = ["127.0.0.1", FOREIGN]
    names["localhost.judge.example"] = [FOREIGN]
    with pytest.raises(EgressError, match=r"MIMIC.*credentialed.*physionet-mimic-cxr.*make judge"):
        permit(MIMIC, url)
    assert not connects
    assert not permit(OPEN, url).guarded


def test_localhost_that_is_elsewhere_is_refused(names: dict[str, list[str]]) -> None:
    names["localhost"] = ["127.0.0.1", FOREIGN]
    with pytest.raises(EgressError):
        permit(MIMIC, "http://localhost:8103")


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8103", "ftp://127.0.0.1", "http://", "http:///v1", "file:///etc/passwd"),
        *("http://user:secret@127.0.0.1", "http://127.0.0.1\\@judge.example", "http://[::1"),
        *("http://127.0.0.1:99999", "http://127.0.0.1:x", "http://127.0.0.1:0", "http://a b"),
        *("http://127.0.0.1%2e.example", "http://local\thost", "http://löcalhost", "unix:///s"),
    ],
)
@pytest.mark.parametrize("card", [OPEN, MIMIC])
def test_what_is_not_a_plain_url_is_refused(url: str, card: DatasetCard) -> None:
    with pytest.raises(EgressError) as refusal:
        permit(card, url)
    assert "secret" not in str(refusal.value)


def test_an_entry_on_file_opens_its_endpoint(tmp_path: Path) -> None:
    rules = write_rules(tmp_path, {**ENTRY, "dua_id": "other"}, ENTRY)
    allowed = permit(MIMIC, "https://Judge.example:443/v1", rules, TODAY)
    assert allowed.guarded
    assert "data steward" in allowed.why
    registered = DatasetCard("MIMIC", "registered", "physionet-mimic-cxr")
    assert permit(registered, "https://judge.example/v1", rules, TODAY) == allowed
    for day in (ENTRY["date"], ENTRY["expires"]):
        assert isinstance(day, datetime.date)
        permit(MIMIC, "https://judge.example", rules, day)
    narrow = write_rules(tmp_path, {**ENTRY, "addresses": ["203.0.113.0/24"]})
    assert (
        str(permit(MIMIC, "https://judge.example", narrow, TODAY).networks[0]) == "203.0.113.0/24"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"expires": datetime.date(2026, 5, 31)}, "expired on 2026-05-31"),
        ({"date": datetime.date(2026, 6, 2)}, "starts on 2026-06-02"),
        ({"expires": None}, "lacks expires"),
        ({"date": None}, "lacks date"),
        ({"approver": None}, "lacks approver"),
        ({"zero_retention": "  "}, "lacks zero_retention"),
        ({"no_training": ""}, "lacks no_training"),
        ({"no_human_review": None}, "lacks no_human_review"),
        ({"dua_id": "physionet-other"}, "no entry names both"),
        ({"endpoint": "https://judge.example:8443"}, "this agreement has .*:8443"),
        ({"endpoint": "https://judge.example.org"}, "no entry names both"),
        ({"addresses": ["198.51.100.0/24"]}, r"203\.0\.113\.7 is not in its addresses"),
    ],
)
def test_an_entry_that_does_not_hold_says_why(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EgressError, match=reason):
        permit(MIMIC, "https://judge.example/v1", write_rules(tmp_path, ENTRY | change), TODAY)


def test_http_off_this_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EgressError, match="only https"):
        permit(MIMIC, "http://judge.example:443", write_rules(tmp_path, ENTRY), TODAY)


def test_an_entry_with_addresses_needs_a_name_that_resolves(
    tmp_path: Path, names: dict[str, list[str]]
) -> None:
    del names["judge.example"]
    rules = write_rules(tmp_path, {**ENTRY, "addresses": ["203.0.113.0/24"]})
    with pytest.raises(EgressError, match="does not resolve"):
        permit(MIMIC, "https://judge.example", rules, TODAY)


@pytest.mark.parametrize(
    "card",
    [
        DatasetCard("D", "credentialed", None),
        DatasetCard("D", "credentialed", " "),
        DatasetCard("D", "Open", "physionet-mimic-cxr"),  # type: ignore[arg-type]
        DatasetCard("D"),
    ],
)
def test_text_without_a_tag_stays_on_this_machine(tmp_path: Path, card: DatasetCard) -> None:
    with pytest.raises(EgressError, match="stays on loopback"):
        permit(card, "https://judge.example", write_rules(tmp_path, ENTRY), TODAY)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dua_id: x", "must be a list"),
        ("- [1]", "must be made of the fields"),
        ("- {dua_id: x, endpoint: 'https://a.example', force: true}", "must be made of the fields"),
        ("- {dua_id: x, endpoint: 'https://a.example', zero_retention: true}", "in words"),
        ("- {dua_id: 7, endpoint: 'https://a.example'}", "in words"),
        ("- {dua_id: x}", "must name"),
        ("- {dua_id: x, endpoint: 'http://a.example'}", "https://HOST"),
        ("- {dua_id: x, endpoint: 'https://a.example/v1'}", "https://HOST"),
        ("- {dua_id: x, endpoint: 'https://u:p@a.example'}", "https://HOST"),
        ("- {dua_id: x, endpoint: 'https://a.example', expires: soon}", "must be a date"),
        ("- {dua_id: x, endpoint: 'https://a.example', date: 2026-01-31 10:00:00}", "be a date"),
        ("- {dua_id: x, endpoint: 'https://a.example', date: 2026-02-31}", "cannot be read"),
        (
            "- {dua_id: x, endpoint: 'https://a.example', addresses: 203.0.113.0}",
            "list of networks",
        ),
        ("- {dua_id: x, endpoint: 'https://a.example', addresses: []}", "list of networks"),
        ("- {dua_id: x, endpoint: 'https://a.example', addresses: [anywhere]}", "addresses"),
        ("- {", "cannot be read"),
    ],
)
def test_a_malformed_file_lets_nothing_out(tmp_path: Path, text: str, reason: str) -> None:
    import yaml

    path = tmp_path / "egress.yaml"
    path.write_text(yaml.safe_dump([ENTRY]) + text if text[0] == "-" else text)
    with pytest.raises(EgressError, match=reason):
        permit(MIMIC, "https://judge.example", path, TODAY)


def test_the_shipped_file_lists_nobody() -> None:
    with pytest.raises(EgressError, match="no entry names both"):
        permit(MIMIC, "https://judge.example", today=TODAY)


def test_an_answer_comes_through(server: Server) -> None:
    for card in (MIMIC, OPEN):
        for host in ("127.0.0.1", "localhost"):
            assert ask(permit(card, server.url(host)), server.url(host), 3) == ["fine"] * 3
    assert len(server.bodies) == 12
    assert f"localhost:{server.port}" in server.hosts


def test_the_next_address_is_tried(server: Server, names: dict[str, list[str]]) -> None:
    names["judge.example"] = ["127.0.0.9", "127.0.0.1"]
    url = server.url("judge.example")
    assert ask(permit(MIMIC, url), url) == ["fine"]
    assert server.hosts == [f"judge.example:{server.port}"]


@pytest.mark.parametrize("card", [MIMIC, OPEN])
def test_no_other_endpoint_through_the_same_client(
    server: Server, card: DatasetCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPENAI_BASE_URL takes effect when a caller forgets base_url; the client stops it."""
    for other in (f"http://{FOREIGN}/v1", "https://judge.example", "http://127.0.0.1:1/v1"):
        monkeypatch.setenv("OPENAI_BASE_URL", other)
        with pytest.raises(EgressError, match="only http://127"):
            ask(permit(card, server.url()), None)
    assert not connects


@pytest.mark.parametrize("card", [MIMIC, OPEN])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_refused(server: Server, card: DatasetCard, status: int) -> None:
    """The SDK asks for redirects to be followed; one attempt, and no socket to the other place."""
    server.answer = redirect(status, f"http://{FOREIGN}/v1/chat/completions")
    with pytest.raises(EgressError, match="redirect"):
        ask(permit(card, server.url()), server.url())
    assert connects == [("127.0.0.1", server.port)]
    assert len(server.bodies) == 1

    async def insist() -> None:
        async with http_client(permit(card, server.url()), 20, 1) as client:
            await client.post(server.url(), content=CANARY, follow_redirects=True)

    with pytest.raises(EgressError, match="redirect"):
        asyncio.run(insist())
    assert {address[0] for address in connects} == {"127.0.0.1"}


@pytest.mark.parametrize("later", [[FOREIGN], ["127.0.0.1", FOREIGN], [FOREIGN, "127.0.0.1"]])
def test_a_name_that_moves_after_the_check_gets_nothing(
    server: Server, names: dict[str, list[str]], later: list[str]
) -> None:
    names["judge.example"] = ["127.0.0.1"]
    url = server.url("judge.example")
    allowed = permit(MIMIC, url)
    names["judge.example"] = later
    with pytest.raises(EgressError, match=FOREIGN):
        ask(allowed, url)
    assert not connects


def test_the_address_that_was_checked_is_the_one_connected_to(
    server: Server, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name moves right after the connection's own look-up: there must be no further one."""
    names["judge.example"] = ["127.0.0.1"]
    url = server.url("judge.example")
    allowed = permit(MIMIC, url)
    look_up = socket.getaddrinfo

    def answer_and_move(host: Any, *args: Any, **kwargs: Any) -> Any:
        rows = look_up(host, *args, **kwargs)
        names["judge.example"] = [FOREIGN]
        return rows

    monkeypatch.setattr(socket, "getaddrinfo", answer_and_move)
    assert ask(allowed, url) == ["fine"]
    assert connects == [("127.0.0.1", server.port)]


@pytest.mark.parametrize("elsewhere", [["127.0.0.9"], ["::1"]])
def test_a_literal_address_is_checked_like_a_name(server: Server, elsewhere: list[str]) -> None:
    """An address is not resolved, so the permit must be checked for the sockets themselves."""
    from ipaddress import ip_network

    url = server.url()
    allowed = Permit(permit(MIMIC, url).origin, True, tuple(map(ip_network, elsewhere)), "")
    with pytest.raises(EgressError, match=r"127\.0\.0\.1"):
        ask(allowed, url)
    assert not connects


def test_a_name_that_moves_between_connections_gets_nothing(
    server: Server, names: dict[str, list[str]]
) -> None:
    names["judge.example"] = ["127.0.0.1"]

    def move(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        names["judge.example"] = [FOREIGN]
        say_fine(handler, body)
        handler.close_connection = True  # so that the next request connects anew

    server.answer = move
    url = server.url("judge.example")
    with pytest.raises(EgressError, match=FOREIGN):
        ask(permit(MIMIC, url), url, times=2)
    assert connects == [("127.0.0.1", server.port)]


def test_a_retry_is_checked_like_the_first_attempt(
    server: Server, names: dict[str, list[str]]
) -> None:
    names["judge.example"] = ["127.0.0.1"]

    def fail_and_move(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        names["judge.example"] = [FOREIGN]
        handler.send_response(503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        handler.close_connection = True

    server.answer = fail_and_move
    url = server.url("judge.example")
    with pytest.raises(EgressError, match=FOREIGN):
        ask(permit(MIMIC, url), url)
    assert connects == [("127.0.0.1", server.port)]


def test_a_listed_endpoint_is_reached_at_its_addresses_under_its_name(
    tmp_path: Path, names: dict[str, list[str]]
) -> None:
    """TLS begins for the name, at the address that was checked and not at the one it moved to."""
    names["judge.example"] = ["127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        hello: list[bytes] = []

        def listen() -> None:
            stream, _ = listener.accept()
            with stream:
                hello.append(stream.recv(4096))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        url = f"https://judge.example:{port}"
        rules = write_rules(tmp_path, {**ENTRY, "endpoint": url, "addresses": ["127.0.0.1/32"]})
        # Loopback needs no entry; the one entry's networks are what this test is about.
        allowed = Permit(permit(MIMIC, url).origin, True, _networks_of(rules), "")

        async def send() -> None:
            async with http_client(allowed, 20, 1) as client:
                await client.post(url, content=CANARY)

        with pytest.raises(httpx2.TransportError):
            asyncio.run(send())
        thread.join(20)
        assert b"judge.example" in hello[0]
        assert CANARY.encode() not in hello[0]
        connects.clear()
        names["judge.example"] = ["127.0.0.2"]
        with pytest.raises(EgressError, match=r"127\.0\.0\.2"):
            asyncio.run(send())
        assert not connects


def _networks_of(rules: Path) -> Any:
    from reportcard.llm.egress.policy import load_rules

    return load_rules(rules)[0].addresses


def test_proxies_of_the_environment_see_open_text_only(
    server: Server, proxy: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
    assert ask(permit(MIMIC, server.url()), server.url()) == ["fine"]
    assert connects == [("127.0.0.1", server.port)]
    assert not proxy.bodies
    ask(permit(OPEN, server.url()), server.url())
    assert len(proxy.bodies) == 1  # the listener does see what a proxy is given
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ask(permit(OPEN, server.url()), server.url())
    assert len(proxy.bodies) == 1
    assert len(server.bodies) == 2


def test_a_proxy_that_speaks_no_http_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "socks5://user:secret@127.0.0.1:1")
    with pytest.raises(EgressError, match="HTTP_PROXY") as refusal:
        ask(permit(OPEN, server.url()), server.url())
    assert "secret" not in str(refusal.value)
    assert ask(permit(MIMIC, server.url()), server.url()) == ["fine"]


def test_a_dead_server_is_not_a_refusal(server: Server) -> None:
    """A connection that fails may be tried again; a refusal may not: the classes differ."""
    url = server.url()
    allowed = permit(MIMIC, url)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(openai.APIConnectionError) as failure:
        ask(allowed, url)
    assert isinstance(failure.value.__cause__, httpx2.ConnectError)


def test_a_server_that_hangs_times_out(server: Server) -> None:
    hold = threading.Event()
    server.answer = lambda handler, body: hold.wait(60) and None
    try:
        with pytest.raises(openai.APITimeoutError):
            ask(permit(MIMIC, server.url()), server.url(), timeout_s=0.1)
    finally:
        hold.set()


def test_errors_do_not_quote_what_was_sent(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A server echoes the report in its status line, which the HTTP parser quotes."""

    def echo(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.wfile.write(b"HTTP/9.9 " + body + b"\r\n\r\n")
        handler.close_connection = True

    server.answer = echo
    caplog.set_level("INFO")
    with pytest.raises(openai.APIConnectionError) as failure:
        ask(permit(MIMIC, server.url()), server.url())
    assert CANARY.encode() in server.bodies[0]
    assert CANARY not in "".join(traceback.format_exception(failure.value))
    assert CANARY not in caplog.text


def test_connections_are_bounded(server: Server) -> None:
    url, allowed = server.url(), permit(MIMIC, server.url())

    async def crowd() -> None:
        async with http_client(allowed, 20, 2) as client:
            await asyncio.gather(*(client.post(url, content=CANARY) for _ in range(8)))

    asyncio.run(crowd())
    assert len(server.bodies) == 8
    assert len(connects) <= 2


def test_the_gate_alone_imports_no_client() -> None:
    code = (
        "import sys, reportcard.llm.egress.policy, reportcard.cli.machine_check\n"
        "print(sorted({'httpx2', 'aiohttp', 'openai', 'anyio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
