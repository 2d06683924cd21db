"""What an endpoint's refusals and failures mean: try again, another way, not this one, or stop.

Nothing that a server says in prose is passed on: it may quote the report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from reportcard.config.settings import JudgeSettings
from reportcard.llm.client.redact import CODES, PARAMS, word

CONTENT_FILTER = "content filter"
OVERFLOW = re.compile(
    r"context[_ ](length|size|window)|maximum context|exceed_context|exceeds? the .*context"
    r"|longer than the model's context|too many tokens|prompt is too long"
)
NO_MODEL = re.compile(
    r"model_not_found|deploymentnotfound|model\b.{0,100}?(not found|does ?n[o']t exist|not exist)"
)


class FailureError(Exception):
    """No answer. The message is a reason that a verdict can carry."""


class TransientError(FailureError):
    """Worth another try. `wait_s`: what Retry-After says; `limited`: 429; `billed`: the request
    had been sent; `status`: of HTTP, None when there was none."""

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
        return self.status == 429


class RequestRejectedError(FailureError):
    """The endpoint does not take such a request (400, 404, 422); another mode may do."""

    def __init__(self, reason: str, status: int, param: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.param = status, param


class PermanentError(FailureError):
    """About this question only, and the same tomorrow."""


class TooLongError(FailureError):
    """About this question only, until a server of the same name is given a larger context."""


class FatalError(FailureError):
    """No question will fare better."""


def of_status(
    status: int, headers: Mapping[str, str], body: bytes, settings: JudgeSettings
) -> FailureError:
    """What an HTTP status other than 200 means for the run."""
    code, param, said = _said(body)
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
        return FatalError(unknown(settings, what))
    if 300 <= status < 400:
        return FatalError(f"the endpoint redirects ({what}): give its own address as base_url")
    if status in (408, 409, 425, 429) or status >= 500:
        return TransientError(what, retry_after(headers), status)
    return RequestRejectedError(f"the endpoint refuses the request ({what})", status, param)


def unknown(settings: JudgeSettings, what: str) -> str:
    return (
        f"no model {settings.model} at {settings.base_url} ({what}): look at {settings.role}.model"
        f" and {settings.role}.base_url"
    )


def _said(content: bytes) -> tuple[str | None, str | None, str]:
    """(code, parameter, everything in lower case) of an error; the first two are safe to show."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    error = body.get("error", body) if isinstance(body, dict) else None
    fields = error if isinstance(error, dict) else {}

    code = word(fields.get("code"), CODES) or word(fields.get("type"), CODES)
    said = content[:20_000].decode("utf-8", "replace").lower()
    return code, word(fields.get("param"), PARAMS), said


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: Retry-After-Ms, or Retry-After as seconds or as a date (RFC 9110 10.2.3)."""
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
