"""The verbs about pairs and judges: evaluate, audit, validate, judge."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reportcard.cli.commands.output import say, say_aside


def evaluate(arguments: argparse.Namespace) -> int:
    from reportcard.core.files import write_atomic
    from reportcard.core.progress import track
    from reportcard.score.evaluation import evaluate

    result = evaluate(
        arguments.pairs,
        metrics=_listed(arguments.metrics),
        protocol=arguments.protocol,
        resamples=arguments.resamples,
        seed=arguments.seed,
        train=arguments.train,
        overrides=[*_judge_overrides(arguments), *arguments.overrides],
        progress=track,
        data_class=arguments.data_class,
        dua_id=arguments.dua,
        say=say_aside,
    )
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if arguments.json == Path("-"):
        print(text, end="")
        return 0
    if arguments.json is not None:
        write_atomic(arguments.json, text)
    from reportcard.cli.tables import scores_table

    scores_table(result)
    return 0


def _judge_overrides(arguments: argparse.Namespace) -> list[str]:
    """--judge, --verdicts and --record in Hydra's words. Verdicts alone mean the recorded judge."""
    from reportcard.config.overrides import quoted

    judge = arguments.judge or ("recorded" if arguments.verdicts else None)
    given = {"judge.verdicts": arguments.verdicts, "judge.record": arguments.record}
    # Quoted, since a file may be called 2026 or null.
    paths = [f"{key}={quoted(str(path))}" for key, path in given.items() if path is not None]
    return [f"judge={judge}", *paths] if judge else paths


def audit(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.audit import run_audit

    return run_audit(
        arguments.what,
        metrics=_listed(arguments.metrics),
        overrides=arguments.overrides,
        repeats=arguments.repeats,
        out=arguments.out,
    )


def validate(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.validation import run_validation

    return run_validation(
        arguments.what,
        root=arguments.root,
        metrics=_listed(arguments.metrics),
        overrides=arguments.overrides,
        json_out=arguments.json,
    )


def judge(arguments: argparse.Namespace) -> int:
    from reportcard.llm.judge.local_server import serve

    return serve(
        arguments.gguf,
        port=arguments.port,
        threads=arguments.threads,
        slots=arguments.slots,
        context=arguments.context,
        say=say,
    )


def _listed(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]
