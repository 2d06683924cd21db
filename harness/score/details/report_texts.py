"""Describes the texts of a run without a metric, as counts and shares.

That is how long and how varied they are, which inputs they were made from, and whether they compare
with an earlier study although none was given. No text of a report leaves this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from reportcard.api import Array, Json, Pair
from reportcard.predict.predictions_file import CardFile
from reportcard.score.details.prior_comparisons import comparison_in
from reportcard.score.stats.resampling import Resampler, estimate

PERCENTILES = (5, 25, 50, 75, 95)
REPLAY = "replay"  # the plugin that answers with the texts of a file
FIELDS = ("study_id", "draw", "used", "tokens_in", "tokens_out")  # of an answer, read here
COLLAPSE = 0.2  # share of the commonest text; from here on a model may have collapsed to it


def lengths(texts: Sequence[str]) -> Json:
    """Return five percentiles (linear) of the words per text; an empty text has none.

    >>> lengths(["one two", "one two three four"])["p50"]
    3.0
    """
    words = [len(text.split()) for text in texts]
    found = np.percentile(words, PERCENTILES)
    return {f"p{p}": round(float(v), 1) for p, v in zip(PERCENTILES, found, strict=True)}


def variety(pairs: Sequence[Pair]) -> Json:
    """Return how frequent the commonest text is, and whether that is a mode collapse.

    In a mode collapse one text is a fifth or more of the candidates, and more than twice as
    frequent as the commonest reference. (Radiologists repeat some normal reports verbatim.)
    """
    most = {
        "top_share": max(Counter(p.candidate for p in pairs).values()) / len(pairs),
        "reference_top_share": max(Counter(p.reference for p in pairs).values()) / len(pairs),
    }
    collapsed = most["top_share"] >= COLLAPSE
    collapsed &= most["reference_top_share"] < most["top_share"] / 2
    return {**{k: round(v, 6) for k, v in most.items()}, "mode_collapse": collapsed}


def used(lines: Sequence[Json]) -> dict[str, int]:
    """Count the studies in which each input reached the model, as the model reports it.

    The result is empty where the model does not report it.
    """
    first = (line for line in lines if line["draw"] == 0)
    return dict(sorted(Counter(name for r in first for name in set(r.get("used", ()))).items()))


def tokens(lines: Sequence[Json]) -> Json | None:
    """Sum the tokens of all answers; None where an endpoint or model does not count them."""
    counted = [line for line in lines if "tokens_in" in line and "tokens_out" in line]
    if not counted:
        return None
    return {
        "in": sum(line["tokens_in"] for line in counted),
        "out": sum(line["tokens_out"] for line in counted),
        "studies": len({line["study_id"] for line in counted}),
    }


def prior_comparisons(
    draws: Sequence[Sequence[Pair]],
    lines: Sequence[Json],
    given: Mapping[str, bool],
    inputs_reported: bool,
    resampler: Resampler,
    confidence: float,
) -> Json | None:
    """Return the share of reports that mention an earlier exam although none was given.

    Studies count whose request had no prior, or whose answer says that the model did not use it;
    an empty report does not count. reference_share is the share among the references of the same
    studies.

    Args:
        draws: pairs, draw by draw.
        lines: stored answers, with the FIELDS.
        given: study id → whether its request had a prior.
        inputs_reported: whether the model reports what it used, so that an answer without `used`
            used nothing. If not, only studies count to which no prior was given.
        resampler: the bootstrap weights.
        confidence: of the interval.

    Returns {"share", "n", "ci_low", "ci_high", "reference_share"}, or None if no report counts.
    """
    used_prior = {
        (line["study_id"], line["draw"]): any(map(_is_prior, line.get("used", ())))
        for line in lines
    }

    def saw(study_id: str, draw: int) -> bool:
        return given[study_id] and (used_prior[study_id, draw] or not inputs_reported)

    rows = np.array(
        [[_counts(p, saw(p.study_id, d)) for p in pairs] for d, pairs in enumerate(draws)]
    )
    if not rows[..., 1].sum():
        return None
    found = estimate(rows, _shares, resampler, confidence)
    share, reference = found["share"], found["reference_share"]
    return {
        "share": round(share.value, 6),
        "n": int((rows[..., 1] > 0).any(axis=0).sum()),
        "ci_low": _rounded(share.low),
        "ci_high": _rounded(share.high),
        "reference_share": round(reference.value, 6),
    }


def reports_its_inputs(card: CardFile, lines: Sequence[Json]) -> bool:
    """Whether answers report which inputs reached the model.

    A file of predictions does not; nor does a model that can take a prior and never names an input.
    """
    if any("used" in line for line in lines):
        return True
    takes_prior = any(map(_is_prior, card.card["inputs"]))
    return card.plugin != REPLAY and not takes_prior


def _is_prior(name: str) -> bool:
    return name.startswith("prior")


def _counts(pair: Pair, saw_prior: bool) -> list[float]:
    """Return whether the report compares, whether it counts, and whether the reference compares.

    All are 0 where the model saw a prior, or the report is empty.
    """
    if saw_prior or not pair.candidate.strip():
        return [0.0, 0.0, 0.0]
    mine, theirs = (comparison_in(text) is not None for text in (pair.candidate, pair.reference))
    return [float(mine), 1.0, float(theirs)]


def _shares(total: Array) -> dict[str, Array]:
    n: npt.NDArray[np.float64] = np.where(total[..., 1] > 0, total[..., 1], np.nan)
    return {"share": total[..., 0] / n, "reference_share": total[..., 2] / n}


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)
