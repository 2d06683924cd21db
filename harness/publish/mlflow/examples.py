"""Picks examples of a run for a reviewer: some predictions and some judged pairs.

Report text is shown of open data only. Of closed data there is no table of predictions, and a
judged pair shows only how it was judged: no study id, no text, and numbers only under names that
the question's own schema has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reportcard.annotate import item_of
from reportcard.api import Annotator, Custody, Json, JudgedAnnotator, Pair
from reportcard.config.settings import RunConfig
from reportcard.core.files import digest
from reportcard.core.layout import Results, cache_folder
from reportcard.core.progress import quiet
from reportcard.data.cohort import Cohort
from reportcard.predict.system import System
from reportcard.publish.mlflow.replay_judge import Exchange, ReplayJudge
from reportcard.score.pairs import References, RunPairs
from reportcard.score.scorer import open_metrics


@dataclass(frozen=True)
class JudgeCall:
    """One question to the judge and what came back."""

    name: str
    inputs: Json
    outputs: Json
    seconds: float
    tokens: tuple[int, int] | None  # in, out


@dataclass(frozen=True)
class Trace:
    """One judged pair with the questions that were asked about it."""

    name: str
    inputs: Json
    outputs: Json
    steps: tuple[JudgeCall, ...]
    judge: str
    study: str

    @property
    def key(self) -> str:
        """A digest of everything that is shown, so that the same trace is written once."""
        steps = [[s.name, s.inputs, s.outputs] for s in self.steps]
        return digest([self.name, self.inputs, self.outputs, steps, self.judge])[:16]


@dataclass
class Examples:
    """Picks examples from the runs of one cohort. Every run shows the same studies."""

    config: RunConfig
    cohort: Cohort

    @property
    def open(self) -> bool:
        return self.cohort.card.data_class == "open"

    @cached_property
    def references(self) -> References:
        return References.of(self.cohort, self.config.protocol)

    def _sampled(self, system: System, most: int) -> list[tuple[int, Pair]]:
        """Return (position, pair) of first draws; a digest of the id decides which studies."""
        results = Results(self.config.results_dir)
        folder = results.predictions(self.cohort.folder, system.folder).path
        run = RunPairs(folder, self.references)
        pairs = [pair for draw, _, part in run.slices() if draw == 0 for pair in part]
        order = sorted(enumerate(pairs, 1), key=lambda p: digest(["shown", p[1].study_id]))
        return sorted(order[:most], key=lambda p: p[0])

    def predictions(self, system: System) -> Json | None:
        """Return candidates and references as the metrics read them; None for closed data."""
        most = self.config.tracking.predictions
        if not self.open or not most:
            return None
        shown = self._sampled(system, most)
        rows = [[p.study_id, p.candidate, p.reference] for _, p in shown]
        return {"columns": ["study_id", "candidate", "reference"], "data": rows}

    def traces(self, system: System) -> list[Trace]:
        """Return judged pairs whose verdicts are in the cache; none if no metric has a judge."""
        if not self.config.tracking.traces or not self._annotators:
            return []
        shown = self._sampled(system, self.config.tracking.traces)
        return [trace for annotator in self._annotators for trace in self._judged(annotator, shown)]

    @cached_property
    def _judges(self) -> list[ReplayJudge]:
        return []

    @cached_property
    def _annotators(self) -> list[Annotator]:
        """The judged annotators, with a judge that only reads the cache."""

        def wrap(judge: Any) -> ReplayJudge:
            self._judges.append(ReplayJudge(judge))
            return self._judges[-1]

        # The run wrote the file of its verdicts already; showing examples writes none.
        config = self.config.without_recording()
        scorers = open_metrics(config.metrics, config.annotators, wrap)
        found = {a.id: a for s in scorers for a in s.annotators}.values()
        return [a for a in found if isinstance(a, JudgedAnnotator) and not a.missing()]

    def _judged(self, annotator: Annotator, shown: Sequence[tuple[int, Pair]]) -> Iterator[Trace]:
        """Judge the pairs again from the cache; yield those that have a verdict there."""
        assert isinstance(annotator, JudgedAnnotator)
        folder = cache_folder(Results(self.config.results_dir).cache, self.cohort.card)
        annotator.admit(Custody(self.cohort.card, folder, quiet, lambda text: None))
        try:
            for position, pair in shown:
                for judge in self._judges:
                    judge.exchanges.clear()
                (note,) = annotator.annotate([item_of(annotator, pair)])
                exchanges = [exchange for judge in self._judges for exchange in judge.exchanges]
                if any(exchange.verdict.value is not None for exchange in exchanges):
                    yield self._trace(annotator, position, pair, note, exchanges)
        finally:
            annotator.close()

    def _trace(
        self,
        annotator: Annotator,
        position: int,
        pair: Pair,
        note: Json | None,
        exchanges: Sequence[Exchange],
    ) -> Trace:
        """Build the trace of one judged pair.

        Args:
            annotator: the judged annotator.
            position: the place of the study in the cohort, from 1.
            pair: the pair.
            note: what the annotator read from the judge's verdicts.
            exchanges: the questions that it asked.
        """
        judge = next((judge.identity for judge in self._judges if judge.exchanges), "")
        study = pair.study_id if self.open else f"{position} of {len(self.references.ids)}"
        inputs: Json = {"study": study}
        if self.open:
            inputs |= {"candidate": pair.candidate, "reference": pair.reference}
            outputs: Json = dict(note or {})
        else:
            outputs = {"scored": note is not None and "unscored" not in note}
        steps = tuple(_with_text(e) if self.open else _without_text(e) for e in exchanges)
        return Trace(f"{annotator.id}: study {study}", inputs, outputs, steps, judge, study)


def _with_text(exchange: Exchange) -> JudgeCall:
    """Show the whole question and every answer."""
    question, verdict = exchange.question, exchange.verdict
    messages = [{"role": m.role, "content": m.content} for m in question.messages]
    outputs: Json = _outcome(exchange)
    if verdict.value is not None:
        outputs["verdict"] = verdict.value
    outputs["answers"] = [answer.get("answer") for answer in exchange.answers]
    inputs = {"prompt": question.prompt, **question.texts, "messages": messages}
    return _step(exchange, inputs, outputs)


def _without_text(exchange: Exchange) -> JudgeCall:
    """Show the name of the prompt, whether there was a verdict, and its numbers; no text."""
    outputs = _outcome(exchange)
    if numbers := _numbers(exchange.verdict.value, _names(exchange.question.schema)):
        outputs["verdict"] = numbers
    texts = dict.fromkeys(exchange.question.texts, "(not shown: the data is not open)")
    return _step(exchange, {"prompt": exchange.question.prompt, **texts}, outputs)


def _outcome(exchange: Exchange) -> Json:
    reason = exchange.verdict.reason
    return {"scored": exchange.verdict.value is not None} | ({"reason": reason} if reason else {})


def _step(exchange: Exchange, inputs: Json, outputs: Json) -> JudgeCall:
    usages = [u for a in exchange.answers if (u := a.get("usage"))]
    tokens = (sum(u[0] for u in usages), sum(u[2] for u in usages)) if usages else None
    seconds = sum(float(answer.get("seconds") or 0) for answer in exchange.answers)
    return JudgeCall(exchange.question.kind, inputs, outputs, seconds, tokens)


def _names(schema: Any) -> set[str]:
    """Return the property names in a JSON schema. They are words of our code, not of an answer."""
    if isinstance(schema, list):
        return {name for part in schema for name in _names(part)}
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties")
    names = set(own) if isinstance(own, dict) else set()
    return names | {name for part in schema.values() for name in _names(part)}


def _numbers(value: Any, names: set[str]) -> Json:
    """Keep the numbers of a verdict that are under names of its schema, and nothing else."""
    found: Json = {}
    for name, part in value.items() if isinstance(value, dict) else ():
        if name not in names:
            continue
        if isinstance(part, int | float):
            found[name] = part
        elif inner := _numbers(part, names):
            found[name] = inner
    return found
