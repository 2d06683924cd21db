"""What lies behind a run's scores, for a reviewer: some predictions, some judged pairs.

Report text of open data only. Of other data there is no table of predictions, and a judged pair
tells how it was judged and not what: no study id, no text, numbers only where the question's own
schema names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from reportcard.annotate import item_of
from reportcard.api import Annotator, Custody, Json, JudgedAnnotator, Pair
from reportcard.config.settings import RunConfig
from reportcard.core.files import digest
from reportcard.core.layout import cache_folder, predictions_dir
from reportcard.core.progress import quiet
from reportcard.data.cohort import Cohort
from reportcard.predict.system import System
from reportcard.publish.mlflow.replay_judge import Exchange, Witness
from reportcard.score.pairs import References, RunPairs
from reportcard.score.scorer import open_metrics


@dataclass(frozen=True)
class Step:
    """One question to the judge."""

    name: str
    inputs: Json
    outputs: Json
    seconds: float
    tokens: tuple[int, int] | None  # in, out


@dataclass(frozen=True)
class Trace:
    """One judged pair. key: digest of all that is told, so that the same one is written once."""

    name: str
    inputs: Json
    outputs: Json
    steps: tuple[Step, ...]
    judge: str
    study: str

    @property
    def key(self) -> str:
        steps = [[s.name, s.inputs, s.outputs] for s in self.steps]
        return digest([self.name, self.inputs, self.outputs, steps, self.judge])[:16]


@dataclass
class Evidence:
    """Of the runs of one cohort. The same studies are shown of every model."""

    config: RunConfig
    cohort: Cohort
    _pairs: dict[str, list[tuple[int, Pair]]] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.cohort.card.data_class == "open"

    @cached_property
    def references(self) -> References:
        return References.of(self.cohort, self.config.protocol)

    def _sampled(self, system: System, most: int) -> list[tuple[int, Pair]]:
        """(position, pair) of the first draw, chosen by the digest of the study's id."""
        folder = predictions_dir(self.config.results_dir, self.cohort, system)
        slices = RunPairs(folder, self.references)
        pairs = [pair for draw, _, part in slices() if draw == 0 for pair in part]
        order = sorted(enumerate(pairs, 1), key=lambda p: digest(["shown", p[1].study_id]))
        return sorted(order[:most], key=lambda p: p[0])

    def predictions(self, system: System) -> Json | None:
        """Candidates beside their references, as the metrics read them."""
        most = self.config.tracking.predictions
        if not self.open or not most:
            return None
        shown = self._sampled(system, most)
        rows = [[p.study_id, p.candidate, p.reference] for _, p in shown]
        return {"columns": ["study_id", "candidate", "reference"], "data": rows}

    def traces(self, system: System) -> list[Trace]:
        """Judged pairs whose verdicts are kept here; none where no metric has a judge."""
        if not self.config.tracking.traces or not self._annotators:
            return []
        shown = self._sampled(system, self.config.tracking.traces)
        return [trace for annotator in self._annotators for trace in self._of(annotator, shown)]

    @cached_property
    def _witnesses(self) -> list[Witness]:
        return []

    @cached_property
    def _annotators(self) -> list[Annotator]:
        def wrap(judge: Any) -> Witness:
            self._witnesses.append(Witness(judge))
            return self._witnesses[-1]

        # The run wrote the file of its verdicts; showing them writes none.
        config = self.config.without_recording()
        scorers = open_metrics(config.metrics, config.annotators, wrap)
        found = {a.id: a for s in scorers for a in s.annotators}.values()
        return [a for a in found if isinstance(a, JudgedAnnotator) and not a.missing()]

    def _of(self, annotator: Annotator, shown: Sequence[tuple[int, Pair]]) -> Iterator[Trace]:
        assert isinstance(annotator, JudgedAnnotator)
        base = self.config.results_dir / "cache"
        folder = cache_folder(base, self.cohort.card)
        annotator.admit(Custody(self.cohort.card, folder, quiet, lambda text: None))
        try:
            for position, pair in shown:
                for witness in self._witnesses:
                    witness.heard.clear()
                (note,) = annotator.annotate([item_of(annotator, pair)])
                heard = [exchange for w in self._witnesses for exchange in w.heard]
                if any(exchange.verdict.value is not None for exchange in heard):
                    yield self._trace(annotator, position, pair, note, heard)
        finally:
            annotator.close()

    def _trace(
        self,
        annotator: Annotator,
        position: int,
        pair: Pair,
        note: Json | None,
        heard: Sequence[Exchange],
    ) -> Trace:
        judge = next((w.identity for w in self._witnesses if w.heard), "")
        study = pair.study_id if self.open else f"{position} of {len(self.references.ids)}"
        inputs: Json = {"study": study}
        if self.open:
            inputs |= {"candidate": pair.candidate, "reference": pair.reference}
            outputs: Json = dict(note or {})
        else:
            outputs = {"scored": note is not None and "unscored" not in note}
        steps = tuple(_told(e) if self.open else _withheld(e) for e in heard)
        return Trace(f"{annotator.id}: study {study}", inputs, outputs, steps, judge, study)


def _told(exchange: Exchange) -> Step:
    question, verdict = exchange.question, exchange.verdict
    messages = [{"role": m.role, "content": m.content} for m in question.messages]
    outputs: Json = _outcome(exchange)
    if verdict.value is not None:
        outputs["verdict"] = verdict.value
    outputs["answers"] = [answer.get("answer") for answer in exchange.answers]
    inputs = {"prompt": question.prompt, **question.texts, "messages": messages}
    return _step(exchange, inputs, outputs)


def _withheld(exchange: Exchange) -> Step:
    """Without any text: the prompt's name, how it went, and the verdict's own numbers."""
    outputs = _outcome(exchange)
    if numbers := _numbers(exchange.verdict.value, _names(exchange.question.schema)):
        outputs["verdict"] = numbers
    texts = dict.fromkeys(exchange.question.texts, "(not shown: the data is not open)")
    return _step(exchange, {"prompt": exchange.question.prompt, **texts}, outputs)


def _outcome(exchange: Exchange) -> Json:
    reason = exchange.verdict.reason
    return {"scored": exchange.verdict.value is not None} | ({"reason": reason} if reason else {})


def _step(exchange: Exchange, inputs: Json, outputs: Json) -> Step:
    usages = [u for a in exchange.answers if (u := a.get("usage"))]
    tokens = (sum(u[0] for u in usages), sum(u[2] for u in usages)) if usages else None
    seconds = sum(float(answer.get("seconds") or 0) for answer in exchange.answers)
    return Step(exchange.question.kind, inputs, outputs, seconds, tokens)


def _names(schema: Any) -> set[str]:
    """Names of properties in a JSON schema: words of the code, not of an answer."""
    if isinstance(schema, list):
        return {name for part in schema for name in _names(part)}
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties")
    names = set(own) if isinstance(own, dict) else set()
    return names | {name for part in schema.values() for name in _names(part)}


def _numbers(value: Any, names: set[str]) -> Json:
    """The numbers of a verdict under names of its schema, and nothing else of it."""
    found: Json = {}
    for name, part in value.items() if isinstance(value, dict) else ():
        if name not in names:
            continue
        if isinstance(part, int | float):
            found[name] = part
        elif inner := _numbers(part, names):
            found[name] = inner
    return found
