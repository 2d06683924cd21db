"""What every asker of an endpoint needs first: preflight, a budget, and a guarded connection.

The live judge (harness/llm.py) and chat models (harness/chat.py) share it.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from reportcard.api import ReportCardError
from reportcard.config.settings import JudgeSettings
from reportcard.llm.client.budget import Ledger, Price
from reportcard.llm.client.endpoint import Endpoint

if TYPE_CHECKING:
    from reportcard.llm.egress.policy import Permit

UNSET = (None, "", "???")


def preflight(settings: JudgeSettings) -> str | None:
    """None when it can be asked; else what is missing and what to do. Needs no network."""
    role = settings.role
    if importlib.util.find_spec("openai") is None:
        return f"the {role}'s client is not installed: pip install 'cxr-reportcard[judge]'"
    needed = ["base_url", "model", *(["api_version"] if settings.kind == "azure" else [])]
    for name in needed:
        if getattr(settings, name) in UNSET:
            return f"{role}.{name} is not set: add {role}.{name}=…"
    if settings.api_key_env and not os.environ.get(settings.api_key_env):
        return f"no key: put it into the environment variable {settings.api_key_env}"
    try:
        new_ledger(settings)
    except ReportCardError as error:
        return str(error)
    return None


def new_ledger(settings: JudgeSettings) -> Ledger:
    """Raises ReportCardError for unusable prices, or a budget without them."""
    role, model, budget = settings.role, str(settings.model), settings.budget_usd
    price = Price.of(settings.prices, model, role)
    if budget is None:
        return Ledger(price)
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not budget > 0:
        raise ReportCardError(f"{role}.budget_usd must be a number above 0, not {budget!r}.")
    if price is None:
        raise ReportCardError(
            f"{role}.budget_usd needs {role}.prices.{model}: without a price the cost is unknown."
        )
    return Ledger(price, float(budget))


def connect(settings: JudgeSettings, permit: Permit) -> Endpoint:
    """Connections that reach the permitted endpoint only. Needs a running event loop."""
    from reportcard.llm.egress.transport import http_client

    connections = max(1, int(settings.concurrency))
    return Endpoint(settings, http_client(permit, settings.timeout_s, connections))
