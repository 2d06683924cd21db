"""What a run is told: frozen, plain, and without Hydra. `harness/config.py` composes it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from reportcard.api import ReportCardError


@dataclass(frozen=True)
class Plugin:
    """A plugin with its options. `label` is the row's name in tables and folders."""

    plugin: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """How a protocol draws resamples and what it prints as the value (harness/stats.py)."""

    recipe: Literal["scipy", "bca", "sacrebleu"] = "scipy"
    centre: Literal["point", "median"] = "point"
    seed: int | None = None  # what the paper's tool uses; stats.seed wins


@dataclass(frozen=True)
class Protocol:
    """A named way of scoring: text, sections, metric variants, intervals, and a paper's columns.

    labels     section → the label before it in the text ("Findings:"); without: joined texts
    columns    the paper's column name → our key, or "1/key" for a displayed inverse
    primary    keys in order of preference, by which a board is ranked
    left_out   columns of the paper whose recipe is unknown or not offered, and why
    """

    name: str = "reportcard"
    normalise: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)
    sections: tuple[str, ...] = ("findings",)
    labels: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    primary: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def interval_of(self, metric: str) -> Interval:
        """The recipe of one metric, else the protocol's default."""
        return self.intervals.get(metric) or self.intervals.get("default") or Interval()

    def metrics_of_columns(self) -> list[str]:
        """The metrics that the paper's columns need, in order."""
        return list(
            dict.fromkeys(k.removeprefix("1/").split(".")[0] for k in self.columns.values())
        )


@dataclass(frozen=True)
class Stats:
    """The interval recipe: percentile bootstrap, `resamples` replicates, seeded."""

    resamples: int = 500
    seed: int | None = None  # None: the protocol's, else 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ReportCardError(f"stats.resamples must be at least 1, not {self.resamples}.")
        if not 0 < self.confidence < 1:
            raise ReportCardError(f"stats.confidence must be in (0, 1), not {self.confidence}.")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise ReportCardError(f"stats.seed must be in [0, 2**32), not {self.seed}.")


@dataclass(frozen=True)
class EngineSettings:
    """Where generate() runs. Everything below `exact_buckets` is Ray's (harness/engines/ray.py)."""

    kind: Literal["local", "ray"] = "local"
    batch_size: int = 64
    exact_buckets: bool = False
    address: str | None = None
    replicas: int | None = None
    gpus_per_replica: float | None = None
    cpus_per_replica: float = 1.0
    hang_s: float = 900.0
    dashboard: bool = False
    usage_stats: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "replicas"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and not (name == "replicas" and value is None):
                raise ReportCardError(
                    f"engine.{name} must be a whole number from 1 up, not {value!r}."
                )
        for name in ("cpus_per_replica", "hang_s", "gpus_per_replica"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            least = 0 if name == "gpus_per_replica" else 1e-4
            if value is not None and not (number and value >= least):
                bound = "from 0 up" if not least else "above 0"
                raise ReportCardError(f"engine.{name} must be a number {bound}, not {value!r}.")
        gpus = self.gpus_per_replica
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ReportCardError(
                f"engine.gpus_per_replica is a whole number or a share of one GPU, not {gpus!r}."
            )


@dataclass(frozen=True)
class Shard:
    """shard=3/16: the third of sixteen parts of a run (harness/shards.py)."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ReportCardError(f"shard is K/N with K from 1 to N, like 3/16, not {text!r}.")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Tracking:
    """What MLflow is told (harness/tracking). traces, predictions: how many are shown per run."""

    enabled: bool = True
    uri: str | None = None
    traces: int = 20
    predictions: int = 500

    def __post_init__(self) -> None:
        for name in ("traces", "predictions"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ReportCardError(
                    f"tracking.{name} must be a whole number from 0 up, not {value!r}."
                )


@dataclass(frozen=True)
class Marks:
    """How a user's segmentation masks are shown to a model (harness/marks.py)."""

    folder: Path
    mode: Literal["overlay", "append"] = "overlay"
    outline: float = 0.006  # thickness, as a share of the shorter side
    numbers: bool = True

    def __post_init__(self) -> None:
        if self.mode not in ("overlay", "append"):
            raise ReportCardError(f"marks.mode is overlay or append, not {self.mode!r}.")
        if not isinstance(self.outline, float | int) or not 0 < self.outline <= 0.1:
            raise ReportCardError(f"marks.outline must be in (0, 0.1], not {self.outline!r}.")
        if not isinstance(self.numbers, bool):
            raise ReportCardError(f"marks.numbers is true or false, not {self.numbers!r}.")


@dataclass(frozen=True)
class RunConfig:
    """One invocation, whole: what runs, on what, how it is scored, where it goes."""

    models: tuple[Plugin, ...]
    datasets: tuple[Plugin, ...]
    metrics: tuple[Plugin, ...]
    protocol: Protocol
    stats: Stats
    results_dir: Path
    annotators: Mapping[str, Plugin] = field(default_factory=dict)  # all of them, by name
    judge: Mapping[str, Any] = field(default_factory=dict)  # checked when a metric asks it
    engine: EngineSettings = field(default_factory=EngineSettings)
    limit: int | None = None
    tracking: Tracking = field(default_factory=Tracking)
    suite: str = "default"
    marks: Marks | None = None  # None: images as they are
    shard: Shard | None = None  # of `predict` alone
    text: Literal["open", "on", "off"] = "open"  # whose reports the study viewer shows
    models_named: bool = True  # by model=…; the suite's own may not fit every cohort
    datasets_named: bool = True  # by dataset=…

    @property
    def records_verdicts(self) -> bool:
        """Whether the judge writes every verdict that was used to a file (`judge.record`)."""
        return bool(self.judge.get("record"))

    def without_recording(self) -> RunConfig:
        """Return the same configuration, with a judge that writes no verdicts to a file."""

        def silent(options: Mapping[str, Any]) -> Mapping[str, Any]:
            return {**options, "record": None} if "record" in options else options

        annotators = {
            name: replace(plugin, options={**plugin.options, "judge": silent(judge)})
            if isinstance(judge := plugin.options.get("judge"), Mapping)
            else plugin
            for name, plugin in self.annotators.items()
        }
        return replace(self, annotators=annotators, judge=silent(self.judge))


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
