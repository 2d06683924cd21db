"""Decides to which endpoints report text may be sent: the gate in front of every client.

The gate knows three kinds of data. Open data may go anywhere. Text of registered and credentialed
data goes to loopback, or to an endpoint that conf/egress.yaml lists for the dataset's use agreement
with the statements of PhysioNet's "Use of MIMIC Data with Large Language Models and Online
Services" (24 Sept 2025): nothing is kept, nothing is trained on it, nobody reads it. Text without
a data class counts as credentialed, and without a use agreement it stays on loopback. No flag,
environment variable or override changes this. A chat model's requests count as text, images
included.

`permit` decides before the first byte is sent. `http_client` (transport.py) checks every later
connection against that decision. The gate cannot see whether a server on loopback forwards what it
receives: who runs one for such data attests that it does not (docs/decisions/0007-egress.md).
"""

from __future__ import annotations

import datetime
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reportcard.api import DatasetCard, ReportCardError
from reportcard.config.paths import conf_dir

Network = IPv4Network | IPv6Network
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
ANYWHERE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
PORTS = {"http": 80, "https": 443}
STATEMENTS = ("approver", "zero_retention", "no_training", "no_human_review")
# The characters that a URL may have before anything parses it: parsers disagree about others.
PLAIN_URL = re.compile(r"[!-\[\]-~]+")
HOST = re.compile(r"[A-Za-z0-9._:-]+")


class EgressError(ReportCardError):
    """Text may not go there. Trying again cannot help. The message never holds report text.

    The openai SDK (3.54) wraps and retries only httpx2's own errors, so this one passes through
    `await client.chat.completions.create(…)` unchanged, after one attempt.
    """


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL. The host is in lower case, an address in its short form."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Permit:
    """The permission to send text of one dataset to one endpoint.

    origin    the endpoint
    guarded   the data is not open: no proxy is used, and each connection must end in `networks`
    networks  the networks that the endpoint's addresses must lie in
    why       the grounds of the permission
    """

    origin: Origin
    guarded: bool
    networks: tuple[Network, ...]
    why: str

    def check_origin(self, scheme: str, host: str, port: int) -> None:
        """Raise EgressError unless this is the permitted endpoint."""
        found = Origin(scheme, short_host(host), port)
        if found != self.origin:
            raise EgressError(f"A request to {found} was stopped: only {self.origin} is allowed.")

    def check_addresses(self, addresses: Sequence[str]) -> None:
        """Raise EgressError unless every address lies in the networks of this permit."""
        stray = [address for address in addresses if not lies_in(address, self.networks)]
        if stray or not addresses:
            raise EgressError(
                f"A connection to {self.origin} was stopped before anything was sent: the name"
                f" now resolves to {', '.join(stray) or 'nothing'}, outside"
                f" {', '.join(map(str, self.networks))}."
            )


@dataclass(frozen=True, slots=True)
class EgressRule:
    """One entry of conf/egress.yaml: what a person has stated for the text of an agreement."""

    dua_id: str
    endpoint: Origin
    approver: str | None = None
    date: datetime.date | None = None
    expires: datetime.date | None = None
    zero_retention: str | None = None
    no_training: str | None = None
    no_human_review: str | None = None
    addresses: tuple[Network, ...] = ()

    def problems(self, today: datetime.date, resolved: Sequence[str]) -> list[str]:
        """Return why the entry does not hold today; empty when it holds.

        resolved: the addresses that the endpoint's name resolves to.
        """
        problems = [
            f"it lacks {name}"
            for name in (*STATEMENTS, "date", "expires")
            if getattr(self, name) is None
        ]
        if self.date and self.date > today:
            problems.append(f"it starts on {self.date}")
        if self.expires and self.expires < today:
            problems.append(f"it expired on {self.expires}")
        stray = [a for a in resolved if self.addresses and not lies_in(a, self.addresses)]
        if stray:
            problems.append(f"{', '.join(stray)} is not in its addresses")
        if self.addresses and not resolved:
            problems.append("the name does not resolve, so its addresses cannot be checked")
        return problems


def permit(
    data: DatasetCard, base_url: str, rules: Path | None = None, today: datetime.date | None = None
) -> Permit:
    """Return the permission to send text of a dataset to an address.

    Looks the host's name up and sends nothing. Raises EgressError when text of this data may not go
    there, when the address is not a plain http(s) URL, and when conf/egress.yaml cannot be read.

    Args:
        data: the dataset's card, with its data class and use agreement.
        base_url: the endpoint's address.
        rules: the file with the entries; None: conf/egress.yaml.
        today: the date on which an entry must hold; None: the current date.
    """
    origin = parse_origin(base_url)
    if data.data_class == "open":
        return Permit(origin, False, ANYWHERE, "open data may go anywhere")
    rules = rules or conf_dir() / "egress.yaml"
    entries = load_rules(rules)
    resolved = _lookup(origin)
    if resolved and all(lies_in(address, LOOPBACK) for address in resolved):
        return Permit(origin, True, LOOPBACK, "it stays on this machine")
    tagged = data.data_class in ("registered", "credentialed") and (data.dua_id or "").strip()
    of_agreement = [e for e in entries if tagged and e.dua_id == data.dua_id]
    reasons = []
    for entry in (e for e in of_agreement if e.endpoint == origin):
        problems = entry.problems(today or datetime.date.today(), resolved)
        if not problems:
            why = f"{data.dua_id}: {entry.approver}, until {entry.expires} ({rules.name})"
            return Permit(origin, True, entry.addresses or ANYWHERE, why)
        reasons.append("the entry does not hold: " + ", ".join(problems))
    if not tagged:
        reasons = ["it names no use agreement (data class and dua_id), so it stays on loopback"]
    elif not reasons:
        others = ", ".join(str(e.endpoint) for e in of_agreement)
        reasons = ["no entry names both" + (f" (this agreement has {others})" if others else "")]
    if origin.scheme == "http":
        reasons.append("off this machine only https will do")
    raise EgressError(
        f"Text of {_whose(data)} may not go to {origin}: {'; '.join(reasons)}. Use a"
        f" server on this machine (for a judge: `make judge`, judge=local), or put what the"
        f" agreement asks for in {rules}."
    )


def parse_origin(url: str) -> Origin:
    """Return scheme, host and port of a plain http(s) URL.

    Raises EgressError for anything else, and for a URL with a user name or password.
    """
    if "@" in url:
        raise EgressError("An endpoint's URL holds no user name or password; see api_key_env.")
    try:
        parts = urlsplit(url if PLAIN_URL.fullmatch(url) else "")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in PORTS or not HOST.fullmatch(host) or port == 0:
        raise EgressError(f"{url!r} is not an endpoint; write http(s)://HOST[:PORT]/PATH in ASCII.")
    return Origin(parts.scheme, short_host(host), port or PORTS[parts.scheme])


def short_host(host: str) -> str:
    """Return one spelling per host, so that equal hosts compare equal."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower().rstrip(".")


def lies_in(address: str, networks: Sequence[Network]) -> bool:
    """Return whether an address is in one of the networks; ::ffff:127.0.0.1 is 127.0.0.1."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in network for network in networks)


def load_rules(path: Path) -> list[EgressRule]:
    """Read the entries of conf/egress.yaml; none when there is no file.

    Raises EgressError for a file that is not a list of known fields of the right types, so that a
    mistake in one entry is reported instead of skipped.
    """
    import yaml

    if not path.exists():
        return []
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise EgressError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if found is not None and not isinstance(found, list):
        raise EgressError(f"{path} must be a list of entries ([] for none).")
    return [_entry(node, f"{path}, entry {i}") for i, node in enumerate(found or (), 1)]


def _entry(node: Any, where: str) -> EgressRule:
    known = [field.name for field in fields(EgressRule)]
    if not isinstance(node, dict) or not set(node) <= set(known):
        raise EgressError(f"{where} must be made of the fields {', '.join(known)}.")
    dates: dict[str, datetime.date | None] = {}
    texts: dict[str, str | None] = {}
    networks: tuple[Network, ...] = ()
    for name, value in node.items():
        if name == "addresses":
            networks = _networks(value, where)
        elif name in ("date", "expires"):
            if value is not None and type(value) is not datetime.date:
                raise EgressError(f"{where}: {name} must be a date without quotes: 2026-01-31.")
            dates[name] = value
        elif value is not None and not isinstance(value, str):
            raise EgressError(f"{where}: {name} must be a statement in words, not {value!r}.")
        else:
            texts[name] = (value or "").strip() or None
    dua_id, endpoint = texts.pop("dua_id", None), texts.pop("endpoint", None)
    if not (dua_id and endpoint):
        raise EgressError(f"{where} must name its dua_id and its endpoint.")
    if not re.fullmatch(r"https://[^/?#@]+/?", endpoint):
        raise EgressError(f"{where}: the endpoint is https://HOST[:PORT] and no more.")
    return EgressRule(dua_id, parse_origin(endpoint), addresses=networks, **texts, **dates)  # type: ignore[arg-type]


def _networks(value: Any, where: str) -> tuple[Network, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise EgressError(f"{where}: addresses must be a list of networks: [203.0.113.0/24].")
    try:
        return tuple(ip_network(v) for v in value)
    except ValueError as error:
        raise EgressError(f"{where}: addresses: {error}.") from None


def _lookup(origin: Origin) -> list[str]:
    """Return the addresses that the host's name resolves to now; empty when there are none."""
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _whose(data: DatasetCard) -> str:
    known = data.data_class in ("registered", "credentialed")
    kind = data.data_class if known else f"unknown class '{data.data_class}', so credentialed"
    return f"'{data.title}' ({kind}, {data.dua_id or 'no dua_id'})"
