"""Signatures: written and taken apart in one place, without a part lost on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reportcard.config import compose as config
from reportcard.config import paths
from reportcard.config.settings import Stats
from reportcard.score.normalise import normaliser
from reportcard.score.scorer import Scorer, ScoringContext, open_metrics
from reportcard.score.signature import Signature

PROTOCOL = config.load_protocol("reportcard")
CONTEXT = ScoringContext(PROTOCOL, normaliser(PROTOCOL, None), Stats(50), cohort="openi@c9fa24e6")


def written(scorer: Scorer, key: str) -> Signature:
    resampler = CONTEXT.resampler(scorer, ["a", "a", "b"])
    return CONTEXT.signature(scorer, key, 3, resampler)


@pytest.mark.parametrize("name", paths.names("metrics"))
def test_what_is_written_is_read_again(name: str) -> None:
    (scorer,) = open_metrics(config.load_metrics([name], PROTOCOL))
    for key in scorer.metric.spec.keys:
        signature = written(scorer, key)
        assert Signature.parse(signature.format()) == signature
        assert signature.key == f"{scorer.label}.{key}"


def test_the_line_stays_as_it_was() -> None:
    (scorer,) = open_metrics(config.load_metrics(["cider"], PROTOCOL))
    line = written(scorer, "cider_d").format()
    assert line == (
        f"cider.cider_d|v{scorer.metric.spec.version}|pycocoevalcap|cider-d|n:4|sigma:6|tok:space"
        "|case:mixed|df:references|protocol:reportcard|text:none|sections:findings"
        "|ci:bca95%,B=50,seed=0,by=patient|n:3|cohort:openi@c9fa24e6"
    )
    without = replace(Signature.parse(line), n=None).format()
    assert without == line.replace("|n:3", "")


@pytest.mark.parametrize(
    "line", ["", "bleu.bleu_4", "bleu.bleu_4|v1", "a|v1|text:none", "a|v2|x:1|x:2|n:4|n:5", "a|n:4"]
)
def test_any_line_survives(line: str) -> None:
    assert Signature.parse(line).format() == line
