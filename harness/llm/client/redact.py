"""What a server says in fields that are passed on: ids and codes, never text that it echoes.

A hostile or broken server may put a report wherever a string fits. What is no id of the expected
shape is shown by its digest, so that two runs of one server still agree; codes and parameters are
shown only when they are known words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

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


def safe_id(value: str, texts: Iterable[str] = (), name: str | None = None) -> str:
    """A model's id as it may be shown: itself, or `sha256:1a2b3c4d` where it is no plain id.

    texts: what was asked about; an id that stands in them is an echo, unless it begins with `name`,
    the one that was asked for.

    >>> safe_id("gpt-4o-2024-08-06"), safe_id("The heart is large.")
    ('gpt-4o-2024-08-06', 'sha256:1c004392')
    """
    asked_for = bool(name) and value.startswith(str(name))
    if ID.fullmatch(value) and (asked_for or not _stands_in(value, texts)):
        return value
    return f"sha256:{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _stands_in(value: str, texts: Iterable[str]) -> bool:
    return any(
        value in text and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) for text in texts
    )


def word(value: object, known: re.Pattern[str]) -> str | None:
    """A code, if it is one of the known ones."""
    return value if isinstance(value, str) and known.fullmatch(value) else None
