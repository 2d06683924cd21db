"""What an endpoint costs: prices are configuration, and a budget stops before it is passed.

Before a request goes out its worst case is reserved: every UTF-8 byte of it a token (a tokenizer
makes no token of less than a byte), IMAGE_TOKENS per image, and `max_tokens` of output. What came
back replaces the reservation. A request that was sent and whose answer was lost may have been
billed, so its worst case stays counted, on an account of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reportcard.api import ReportCardError

# Tokens of the chat template around one message, and around the conversation.
TEMPLATE = 32
# What one image is reserved as. No provider is known to bill more (from memory, unverified: GPT-4o
# mini counts up to 2,833 + 8 × 5,667 = 48,169); a server without a limit of its own may.
IMAGE_TOKENS = 50_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the endpoint counted them; `cached_in` is a part of `tokens_in`."""

    tokens_in: int = 0
    cached_in: int = 0
    tokens_out: int = 0

    @classmethod
    def of(cls, found: Any) -> Usage | None:
        """The `usage` of a completion; None where it is absent or makes no sense."""
        if not isinstance(found, dict):
            return None
        details = found.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else 0
        counts: list[Any] = [
            found.get("prompt_tokens"),
            cached or 0,
            found.get("completion_tokens") or 0,
        ]
        if any(type(count) is not int or not 0 <= count < 10**9 for count in counts):
            return None
        return cls(counts[0], min(counts[1], counts[0]), counts[2])


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens."""

    input: float
    cached_input: float
    output: float

    @classmethod
    def of(
        cls, prices: Mapping[str, Mapping[str, float]], model: str, role: str = "judge"
    ) -> Price | None:
        """A model's price; None where the configuration has none: it is never guessed.

        Raises ReportCardError for a price that is none.
        """
        found = (prices or {}).get(model)
        if found is None:
            return None
        try:
            price = cls(found["input"], found.get("cached_input", found["input"]), found["output"])
            values = [float(price.input), float(price.cached_input), float(price.output)]
        except (KeyError, TypeError, ValueError, AttributeError):
            values = [-1.0]
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise ReportCardError(
                f"{role}.prices.{model} must be {{input: …, cached_input: …, output: …}} in USD per"
                " million tokens."
            )
        return price

    def cost(self, usage: Usage) -> float:
        """USD."""
        fresh = usage.tokens_in - usage.cached_in
        total = fresh * self.input + usage.cached_in * self.cached_input
        return (total + usage.tokens_out * self.output) / 1e6

    def worst(self, n_bytes: int, n_messages: int, max_tokens: int) -> float:
        """The most that a request of so many bytes can cost, in USD."""
        tokens = n_bytes + TEMPLATE * (n_messages + 1)
        dearest = max(self.input, self.cached_input)
        return (tokens * dearest + max_tokens * self.output) / 1e6


class SpentError(Exception):
    """The next request might pass the budget."""


@dataclass
class Ledger:
    """USD of one invocation. `spent` was counted by the endpoint, `lost` may have been billed."""

    price: Price | None = None
    budget: float | None = None
    usage: Usage = field(default_factory=Usage)
    spent: float = 0.0
    lost: float = 0.0
    reserved: float = 0.0
    _settled: asyncio.Event | None = None

    async def reserve(self, amount: float) -> None:
        """Set aside; where that might pass the budget, wait for answers that are on their way.

        Raises SpentError when none is and it still might.
        """
        while self.budget is not None and self._used() + amount > self.budget:
            if self.reserved <= 0:
                raise SpentError
            self._settled = self._settled or asyncio.Event()
            await self._settled.wait()
        self.reserved += amount

    def _used(self) -> float:
        return self.spent + self.lost + self.reserved

    def settle(self, amount: float, usage: Usage | None) -> None:
        """An answer came. Without a usage it counts with its worst case."""
        if usage is None:
            self.lost += amount
        else:
            mine = self.usage
            self.usage = Usage(
                mine.tokens_in + usage.tokens_in,
                mine.cached_in + usage.cached_in,
                mine.tokens_out + usage.tokens_out,
            )
            self.spent += self.price.cost(usage) if self.price else 0.0
        self._free(amount)

    def release(self, amount: float, billed: bool) -> None:
        """No answer came; `billed`: the endpoint had the request, and may charge for it."""
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
        """`1,234 tokens in (200 cached by the provider), 56 out, $0.0123`."""
        used = self.usage
        cached = f" ({used.cached_in:,} cached by the provider)" if used.cached_in else ""
        text = f"{used.tokens_in:,} tokens in{cached}, {used.tokens_out:,} out"
        if self.price is None:
            return f"{text}, unknown cost"
        lost = f" (and at most ${self.lost:.4f} for answers that were lost)" if self.lost else ""
        return f"{text}, ${self.spent:.4f}{lost}"
