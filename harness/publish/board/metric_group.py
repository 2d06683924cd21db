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
    return {metric: group_of(metric, protocol) for metric in dict.fromkeys(metrics)}


def group_of(metric: str, protocol: str) -> MetricGroup:
    """Return the group of one metric; see `groups_of`."""
    try:
        return _named_by_spec(metric, protocol)
    except ReportCardError:
        return "other"


@lru_cache(maxsize=256)
def _named_by_spec(metric: str, protocol: str) -> MetricGroup:
    (plugin,) = config.load_metrics([metric], config.load_protocol(protocol))
    found: MetricGroup = registry.metrics.build(
        plugin.plugin, plugin.options, plugin.label
    ).spec.group
    return found
