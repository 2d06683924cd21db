"""The settings of a run as frozen dataclasses, without Hydra; compose.py makes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from reportcard.api import ReportCardError
from reportcard.core import registry


@dataclass(frozen=True)
class Plugin:
    """A plugin with its options. `label` is its name in tables and folders."""

    plugin: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """How a protocol draws resamples and what it prints as the value (score/stats/resampling.py).

    seed  that of the paper's tool; stats.seed overrides it
    of    the metric that it is for, by plugin and options; None: for all others
    """

    recipe: Literal["scipy", "bca", "sacrebleu"] = "scipy"
    centre: Literal["point", "median"] = "point"
    seed: int | None = None
    of: Plugin | None = None


@dataclass(frozen=True)
class Protocol:
    """A named way of scoring: text, sections, metric variants, intervals, and a paper's columns.

    normalise  the way texts are normalised; options are its options
    sections   the sections of a report that are scored
    labels     section → the label before it in the text ("Findings:"); none: texts are joined
    metrics    metric → the options that the protocol fixes
    intervals  a metric of conf/metrics, or "default" → how the interval is drawn; it holds for
               every metric of that plugin with those options, under whatever label
    primary    keys in order of preference, by which a board is ranked
    columns    the paper's column name → our key, or "1/key" for a displayed inverse
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

    @classmethod
    def from_options(cls, name: str, options: Mapping[str, Any]) -> Self:
        """Build the protocol of a file of conf/protocol from its keys."""
        return cls(
            name=name,
            normalise=options["normalise"],
            options=options.get("options", {}),
            sections=tuple(options["sections"]),
            labels=options.get("labels", {}),
            metrics=options["metrics"],
            intervals={k: Interval(**v) for k, v in options.get("intervals", {}).items()},
            primary=tuple(options.get("primary", ())),
            columns=options.get("columns", {}),
            left_out=options.get("left_out", {}),
        )

    def interval_of(self, metric: Plugin) -> Interval:
        """The recipe of one metric, else the protocol's default.

        It goes by plugin and options, with the plugin's own defaults: equal metrics have equal
        recipes, whatever their labels.
        """
        wanted = None
        for interval in self.intervals.values():
            if interval.of is not None and interval.of.plugin == metric.plugin:
                wanted = wanted or registry.metrics.effective(metric.plugin, metric.options)
                if registry.metrics.effective(metric.plugin, interval.of.options) == wanted:
                    return interval
        return self.intervals.get("default") or Interval()

    def metrics_of_columns(self) -> list[str]:
        """Return the metrics that the paper's columns need, in order."""
        return list(
            dict.fromkeys(k.removeprefix("1/").split(".")[0] for k in self.columns.values())
        )


@dataclass(frozen=True)
class Stats:
    """How intervals are drawn: a percentile bootstrap with `resamples` replicates.

    seed  None: the protocol's, else 0
    """

    resamples: int = 500
    seed: int | None = None
    confidence: float = 0.95

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Read `stats` of conf/config.yaml. Raises ReportCardError for what is no number."""
        try:
            seed = None if options["seed"] is None else int(options["seed"])
            return cls(int(options["resamples"]), seed, float(options["confidence"]))
        except (TypeError, ValueError) as error:
            raise ReportCardError(f"stats: {error}") from None

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ReportCardError(f"stats.resamples must be at least 1, not {self.resamples}.")
        if not 0 < self.confidence < 1:
            raise ReportCardError(f"stats.confidence must be in (0, 1), not {self.confidence}.")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise ReportCardError(f"stats.seed must be in [0, 2**32), not {self.seed}.")


@dataclass(frozen=True)
class EngineSettings:
    """Where models run. The settings after `exact_buckets` are those of Ray (conf/engine/ray.yaml).

    batch_size     studies per call, for a model that has no batch size of its own
    exact_buckets  only prompts of equal length share a batch, so that nothing is padded
    """

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
    """One part of a run, to answer it on several machines: shard=3/16 is the third of sixteen."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `K/N`. Raises ReportCardError for any other text."""
        found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ReportCardError(f"shard is K/N with K from 1 to N, like 3/16, not {text!r}.")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Tracking:
    """Whether and where runs are logged to MLflow.

    uri          None: MLFLOW_TRACKING_URI, else a SQLite file in the results folder
    traces       how many judged pairs are logged per run
    predictions  how many predictions are logged per run
    """

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
    """How a user's segmentation masks are shown to a model (data/masks.py).

    outline  thickness, as a share of the image's shorter side
    """

    folder: Path
    mode: Literal["overlay", "append"] = "overlay"
    outline: float = 0.006
    numbers: bool = True

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self | None:
        """Read a file of conf/marks; None where images are shown as they are."""
        if options["mode"] == "none":
            return None
        folder = Path(str(options["folder"]))
        return cls(folder, options["mode"], options["outline"], options["numbers"])

    def __post_init__(self) -> None:
        if self.mode not in ("overlay", "append"):
            raise ReportCardError(f"marks.mode is overlay or append, not {self.mode!r}.")
        if not isinstance(self.outline, float | int) or not 0 < self.outline <= 0.1:
            raise ReportCardError(f"marks.outline must be in (0, 0.1], not {self.outline!r}.")
        if not isinstance(self.numbers, bool):
            raise ReportCardError(f"marks.numbers is true or false, not {self.numbers!r}.")


@dataclass(frozen=True)
class RunConfig:
    """The whole configuration of one invocation: what runs, on what, and how it is scored.

    annotators      every annotator by name, whether a metric reads it or not
    judge           the options of the judge; they are checked when a metric asks it
    limit           only the first studies of each cohort
    shard           the part of a run that `reportcard predict` answers
    marks           None: images are shown as they are
    text            whose reports the study viewer shows: of open data, of all, or none
    models_named    model=… was given. The suite's own models may not fit every cohort
    datasets_named  dataset=… was given
    """

    models: tuple[Plugin, ...]
    datasets: tuple[Plugin, ...]
    metrics: tuple[Plugin, ...]
    protocol: Protocol
    stats: Stats
    results_dir: Path
    annotators: Mapping[str, Plugin] = field(default_factory=dict)
    judge: Mapping[str, Any] = field(default_factory=dict)
    engine: EngineSettings = field(default_factory=EngineSettings)
    limit: int | None = None
    tracking: Tracking = field(default_factory=Tracking)
    suite: str = "default"
    marks: Marks | None = None
    shard: Shard | None = None
    text: Literal["open", "on", "off"] = "open"
    models_named: bool = True
    datasets_named: bool = True

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
