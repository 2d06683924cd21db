"""Counts what an endpoint costs, and stops before a budget is exceeded.

Prices come from the configuration and are never guessed. Before a request is sent, its worst case
is reserved: one token per UTF-8 byte (a tokenizer makes no token of less than a byte), IMAGE_TOKENS
per image, and `max_tokens` of output. The usage in the reply replaces the reservation. A request
that was sent and got no reply may have been billed, so its worst case stays counted, separately.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field

from reportcard.api import ReportCardError
from reportcard.config.endpoint_settings import EndpointSettings
from reportcard.llm.client.replies import FatalError, Usage
from reportcard.llm.judge.contract import Question

# Tokens of the chat template around one message, and around the conversation.
TEMPLATE = 32
# What one image is reserved as. No provider is known to bill more (from memory, unverified: GPT-4o
# mini counts up to 2,833 + 8 × 5,667 = 48,169); a server without a limit of its own may.
IMAGE_TOKENS = 50_000


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens."""

    input: float
    cached_input: float
    output: float

    @classmethod
    def from_settings(cls, settings: EndpointSettings) -> Price | None:
        """Return the price of the configured model; None where the configuration has none.

        Raises ReportCardError for a price that is not usable.
        """
        model = str(settings.model)
        found = (settings.prices or {}).get(model)
        if found is None:
            return None
        try:
            price = cls(found["input"], found.get("cached_input", found["input"]), found["output"])
            values = [float(price.input), float(price.cached_input), float(price.output)]
        except (KeyError, TypeError, ValueError, AttributeError):
            values = [-1.0]
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise ReportCardError(
                f"{settings.role}.prices.{model} must be {{input: …, cached_input: …, output: …}}"
                " in USD per million tokens."
            )
        return price

    def cost(self, usage: Usage) -> float:
        """Return the cost of a call in USD."""
        fresh = usage.tokens_in - usage.cached_in
        total = fresh * self.input + usage.cached_in * self.cached_input
        return (total + usage.tokens_out * self.output) / 1e6

    def worst(self, question: Question, max_tokens: int) -> float:
        """Return the most that one request with this question can cost, in USD."""
        size = sum(len(m.content.encode("utf-8", "surrogatepass")) for m in question.messages)
        size += len(json.dumps(question.schema)) if question.schema else 0
        size += IMAGE_TOKENS * sum(len(m.images) for m in question.messages)
        tokens = size + TEMPLATE * (len(question.messages) + 1)
        highest = max(self.input, self.cached_input)
        return (tokens * highest + max_tokens * self.output) / 1e6


@dataclass
class Ledger:
    """The cost of one invocation, in USD.

    usage     tokens that the endpoint counted
    spent     their cost
    lost      the most that requests without a reply may have cost
    reserved  the most that requests under way may cost
    """

    price: Price | None = None
    budget: float | None = None
    usage: Usage = field(default_factory=Usage)
    spent: float = 0.0
    lost: float = 0.0
    reserved: float = 0.0
    _settled: asyncio.Event | None = None

    @classmethod
    def from_settings(cls, settings: EndpointSettings) -> Ledger:
        """Open an empty ledger.

        Raises ReportCardError for unusable prices, and for a budget without prices.
        """
        role, budget = settings.role, settings.budget_usd
        price = Price.from_settings(settings)
        if budget is None:
            return cls(price)
        if isinstance(budget, bool) or not isinstance(budget, int | float) or not budget > 0:
            raise ReportCardError(f"{role}.budget_usd must be a number above 0, not {budget!r}.")
        if price is None:
            raise ReportCardError(
                f"{role}.budget_usd needs {role}.prices.{settings.model}: without a price the cost"
                " is unknown."
            )
        return cls(price, float(budget))

    async def reserve(self, question: Question, max_tokens: int) -> float:
        """Reserve the worst case of a request and return it.

        Where that might exceed the budget, wait for the replies that are on their way. Raises
        FatalError when none is on its way and it still might.
        """
        amount = self.price.worst(question, max_tokens) if self.price else 0.0
        while self.budget is not None and self._used() + amount > self.budget:
            if self.reserved <= 0:
                raise FatalError(f"budget of ${self.budget:g} reached")
            self._settled = self._settled or asyncio.Event()
            await self._settled.wait()
        self.reserved += amount
        return amount

    def _used(self) -> float:
        return self.spent + self.lost + self.reserved

    def settle(self, amount: float, usage: Usage | None) -> None:
        """Replace a reservation by the usage of its reply; without one the worst case counts."""
        if usage is None:
            self.lost += amount
        else:
            self.usage += usage
            self.spent += self.price.cost(usage) if self.price else 0.0
        self._free(amount)

    def release(self, amount: float, billed: bool) -> None:
        """End a reservation without a reply. `billed`: the provider may charge for it."""
        self.lost += amount if billed else 0.0
        self._free(amount)

    def _free(self, amount: float) -> None:
        self.reserved = max(0.0, self.reserved - amount)
        if self.reserved < 1e-12:  # rounding
            self.reserved = 0.0
        if self._settled:
            self._settled.set()
            self._settled = None

    def summary(self) -> str:
        """Return `1,234 tokens in (200 cached by the provider), 56 out, $0.0123`."""
        used = self.usage
        cached = f" ({used.cached_in:,} cached by the provider)" if used.cached_in else ""
        text = f"{used.tokens_in:,} tokens in{cached}, {used.tokens_out:,} out"
        if self.price is None:
            return f"{text}, unknown cost"
        lost = f" (and at most ${self.lost:.4f} for answers that were lost)" if self.lost else ""
        return f"{text}, ${self.spent:.4f}{lost}"
