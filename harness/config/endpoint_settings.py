"""The settings of a language-model endpoint, for judges and for chat models that write reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from reportcard.api import ReportCardError


@dataclass(frozen=True)
class EndpointSettings:
    """Which language-model endpoint is asked, and within what limits.

    kind         openai (any OpenAI-compatible endpoint) or azure; a judge has more kinds
    base_url     address of the endpoint; environment variables never change it
    api_key_env  name of the environment variable that holds the key; None: no key
    api_version  azure only
    model        the model's name there (azure: the deployment)
    concurrency  requests in flight
    timeout_s    limit of one request, in seconds
    patience_s   how long the endpoint may be down before the remaining questions are left for the
                 next run, in seconds
    prices       model → {input, cached_input, output} in USD per million tokens
    budget_usd   stop before this much is spent in one invocation; needs prices
    """

    role: ClassVar[str] = "endpoint"  # the config group in messages: judge or model
    kinds: ClassVar[tuple[str, ...]] = ("openai", "azure")

    kind: str = "openai"
    base_url: str | None = None
    api_key_env: str | None = None
    api_version: str | None = None
    model: str | None = None
    concurrency: int = 8
    timeout_s: float = 120.0
    patience_s: float = 120.0
    prices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    budget_usd: float | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Check the options of a YAML preset and build the settings from them.

        Raises ReportCardError for an option that does not exist or has no effect here.
        """
        known = [each.name for each in fields(cls)]
        for name in options:
            if name not in known:
                raise ReportCardError(
                    f"{cls.role}.{name} has no effect: the options are {', '.join(known)}."
                )
        return cls(**options)

    def __post_init__(self) -> None:
        if self.kind not in self.kinds:
            raise ReportCardError(
                f"{self.role}.kind '{self.kind}'; there are {', '.join(self.kinds)}."
            )
        self._check_positive("concurrency", "timeout_s", "patience_s")
        self._check_text("base_url", "api_key_env", "api_version", "model")
        if not isinstance(self.prices, Mapping):
            raise ReportCardError(
                f"{self.role}.prices must be {{MODEL: {{input: …, output: …}}}}, not"
                f" {self.prices!r}."
            )

    def _check_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0:
                raise ReportCardError(
                    f"{self.role}.{name} must be a number above 0, not {value!r}."
                )

    def _check_text(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise ReportCardError(
                    f"{self.role}.{name} must be text, not {value!r}: quote it, as in"
                    f" \"{self.role}.{name}='{value}'\"."
                )


@dataclass(frozen=True)
class ChatSettings(EndpointSettings):
    """The settings of a chat model that writes reports behind an endpoint."""

    role: ClassVar[str] = "model"


@dataclass(frozen=True)
class JudgeSettings(EndpointSettings):
    """The settings of a judge, as the files of conf/judge hold them.

    kind        none, openai, azure or recorded
    attempts    how many answers are requested per question until one can be parsed
    structured  auto, json_schema, json_object or none: the structured output that is requested
    caveat      shown beside every score
    verdicts    the file with the verdicts; only for kind recorded
    record      write every verdict that was used to this file
    """

    role: ClassVar[str] = "judge"
    kinds: ClassVar[tuple[str, ...]] = ("none", "openai", "azure", "recorded")

    kind: str = "none"
    attempts: int = 3
    structured: str = "auto"
    caveat: str | None = None
    verdicts: Path | None = None
    record: Path | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Check the options of a file of conf/judge and build the settings from them.

        Paths may be text, and an empty path is none. `prices` may be YAML text, because Hydra's
        grammar has no key such as `llama3.1:8b`. Raises ReportCardError.
        """
        given = dict(options)
        for name in ("verdicts", "record"):
            if isinstance(value := given.get(name), str):
                given[name] = Path(value) if value else None
        if isinstance(text := given.get("prices"), str):
            import yaml

            with suppress(yaml.YAMLError, RecursionError):  # __post_init__ rejects what stays text
                given["prices"] = yaml.safe_load(text)
        return super().from_options(given)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.structured not in ("auto", "json_schema", "json_object", "none"):
            raise ReportCardError(
                f"judge.structured '{self.structured}'; there are auto, json_schema, json_object,"
                " none."
            )
        self._check_positive("attempts")
        self._check_text("caveat")
        for name in ("verdicts", "record"):
            value = getattr(self, name)
            if not isinstance(value, Path | None):
                raise ReportCardError(
                    f"judge.{name} must be a path, not {value!r}: quote it, as in"
                    f" \"judge.{name}='{value}'\"."
                )
        if self.verdicts and self.kind != "recorded":
            raise ReportCardError(
                "judge.verdicts (--verdicts) are read by judge=recorded only, and another judge"
                f" was chosen (kind {self.kind}): choose one of the two."
            )
