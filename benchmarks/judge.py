"""Measure the judge's client: throughput, the cost of a cached verdict, and re-scoring.

    python -m benchmarks.judge

A server on loopback runs in its own process. It answers each request after 50 ms, and at most 32 at
a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reportcard.api import Custody, DatasetCard
from reportcard.config.endpoint_settings import JudgeSettings
from reportcard.core.progress import quiet
from reportcard.llm.client import batch
from reportcard.llm.client.replies import Reply, Usage
from reportcard.llm.judge.contract import BadAnswerError, Message, Question
from reportcard.llm.judge.live import LiveJudge

N = 2461  # pairs: the MIMIC-CXR test reports of the papers
LATENCY_S, SLOTS = 0.05, 32
IN_FLIGHT = 48  # some wait at the server, so that no slot waits for the client
LETTERS = "ABCDEF"
COUNTS = dict.fromkeys(LETTERS, 0)
INSTRUCTIONS = "Count the errors of each type in the candidate report. " * 60  # 3.3 kB, as prompts


@contextlib.contextmanager
def server(*answers: str) -> Iterator[str]:
    """Start the server of tests/scripted_judge.py with these answers and yield its base_url."""
    command = [sys.executable, "-m", "tests.scripted_judge", "--latency", str(LATENCY_S)]
    command += ["--slots", str(SLOTS), *answers]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)


def check(found: Any) -> dict[str, Any]:
    if set(found) != set(LETTERS):
        raise BadAnswerError("not the six letters")
    return dict(found)


def questions(n: int, size: int) -> list[Question]:
    """Return n questions about texts of `size` characters; the same instructions come first."""
    static = Message("system", INSTRUCTIONS)
    texts = [f"{i} ".ljust(size, "x") for i in range(n)]
    schema = {"type": "object"}
    return [
        Question("bench", {"text": t}, (static, Message("user", t)), "p@1", check, schema=schema)
        for t in texts
    ]


def asking(url: str, folder: Path) -> None:
    """Measure throughput as a share of slots / latency, then the same questions from the cache."""
    settings = JudgeSettings(kind="openai", base_url=url, model="m", concurrency=IN_FLIGHT)
    judge = LiveJudge(settings)
    custody = Custody(DatasetCard("bench", "open"), folder / "client", quiet, lambda text: None)
    judge.admit(custody)
    judge.ask(questions(IN_FLIGHT, 10), "warm")
    every = questions(N, 500)
    ideal = N * LATENCY_S / SLOTS
    used, began = time.process_time(), time.perf_counter()
    verdicts = judge.ask(every, "bench")
    seconds, used = time.perf_counter() - began, time.process_time() - used
    assert all(v.value for v in verdicts)
    print(
        f"{N:,} questions, {SLOTS} slots of {1000 * LATENCY_S:.0f} ms: {seconds:.2f} s"
        f" ({N / seconds:.0f}/s), {ideal / seconds:.0%} of the ideal {ideal:.2f} s (target 85 %);"
        f" client {1000 * used / N:.2f} ms CPU per question"
    )
    judge.close()
    began = time.perf_counter()
    judge.ask(every, "bench")
    each = (time.perf_counter() - began) / N
    print(f"cached verdict: {1000 * each:.3f} ms (target 0.2)")
    judge.close()


class Clerk:
    """Fills the cache in place of an endpoint: it answers each kind of question without HTTP."""

    async def send(
        self, question: Question, mode: str, sampling: Mapping[str, float], max_tokens: int
    ) -> Reply:
        texts = question.texts
        if question.kind == "radfact.phrases":
            phrases = re.split(r"[.\s]*\.[.\s]*", str(texts["report"]))
            found: Any = {"phrases": [phrase for phrase in phrases if phrase.strip()]}
        elif question.kind == "radfact.entailment":
            premises, hypothesis = texts["premises"], texts["hypothesis"]
            entailed = hypothesis in premises
            status = "entailment" if entailed else "not_entailment"
            found = {"status": status, "evidence": [hypothesis] if entailed else []}
        else:
            found = {"significant": COUNTS, "insignificant": COUNTS}
        return Reply(json.dumps(found), None, "stop", "m", Usage(100, 0, 10))

    async def close(self) -> None:
        """Do nothing: there is no connection."""


def rescoring(folder: Path, metrics: list[str]) -> None:
    """Measure evaluate() over N pairs of Open-I reports with all verdicts in the cache."""
    os.environ["REPORTCARD_CACHE"] = str(folder)
    from benchmarks.data import rows
    from reportcard.score.evaluation import evaluate

    pairs, total = rows(N), 0.0
    overrides = ["judge=local", "judge.base_url=http://127.0.0.1:9/v1", "judge.model=m"]
    options: dict[str, Any] = {"overrides": overrides, "data_class": "open"}
    connect = batch.connect
    for metric in metrics:
        said: list[str] = []
        batch.connect = lambda settings, permit: Clerk()  # type: ignore[attr-defined]
        evaluate(pairs, [metric], **options)
        batch.connect = connect  # type: ignore[attr-defined]
        began = time.perf_counter()
        result = evaluate(pairs, [metric], **options, say=said.append)
        seconds = time.perf_counter() - began
        total += seconds
        entry = next(iter(result["metrics"].values()))
        assert entry["n"] == N, entry
        print(f"{metric}, {N:,} pairs from cache: {seconds:.2f} s")
        print("".join(f"  {line}\n" for line in said), end="")
    print(f"re-scoring with {' and '.join(metrics)}: {total:.2f} s (target 5)")


def main() -> None:
    with tempfile.TemporaryDirectory() as name, server(json.dumps(COUNTS)) as url:
        asking(url, Path(name))
        rescoring(Path(name), ["chexprompt", "radfact"])


if __name__ == "__main__":
    main()
