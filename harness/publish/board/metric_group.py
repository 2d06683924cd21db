"""Finds the group of each metric (lexical, clinical, judged, grounding), which its spec names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from reportcard.api import MetricGroup, ReportCardError
from reportcard.config import compose as config
from reportcard.core import registry


def groups_of(metrics: Iterable[str], protocol: str) -> dict[str, MetricGroup]:
    """Return the group of each metric; "other" for one that is not installed here.

    Args:
        metrics: labels of metrics, as score files name them.
        protocol: the name of the protocol that they were scored under.
    """
    wanted = tuple(dict.fromkeys(metrics))
    try:
        return dict(zip(wanted, _named_by_specs(wanted, protocol), strict=True))
    except ReportCardError:  # one of them is not installed
        return {metric: group_of(metric, protocol) for metric in wanted}


def group_of(metric: str, protocol: str) -> MetricGroup:
    """Return the group of one metric; see `groups_of`."""
    try:
        return _named_by_specs((metric,), protocol)[0]
    except ReportCardError:
        return "other"


@lru_cache(maxsize=256)
def _named_by_specs(metrics: tuple[str, ...], protocol: str) -> tuple[MetricGroup, ...]:
    """Open the metrics, in one go since composing their settings takes time."""
    plugins = config.load_metrics(metrics, config.load_protocol(protocol))
    return tuple(
        registry.metrics.build(plugin.plugin, plugin.options, plugin.label).spec.group
        for plugin in plugins
    )
