"""The `reportcard` command: thin verbs over the stages; each verb imports what it needs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.arguments import parser

if TYPE_CHECKING:
    from harness.api import Json
    from harness.cohort import Cohort
    from harness.settings import RunConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. User errors are one sentence on stderr, code 2."""
    known = parser()
    arguments, rest = known.parse_known_args(argv)
    # argparse fills an open-ended positional once; words may also stand after an option.
    named = getattr(arguments, "names", False)
    if rest and all(word[:1] != "-" and (named or "=" in word) for word in rest):
        arguments.overrides = [*getattr(arguments, "overrides", []), *rest]
    elif rest:
        known.error(f"unrecognised: {' '.join(rest)} (reportcard VERB --help)")
    from harness.api import ReportCardError  # after --help has answered: it imports NumPy

    if not hasattr(arguments, "verb"):
        known.print_help()
        return 0
    try:
        code: int = globals()[f"_{arguments.verb.replace('-', '_')}"](arguments)
        sys.stdout.flush()
        return code
    except ReportCardError as error:
        print(f"reportcard: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader (head, less) closed early; the interpreter must not complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"reportcard: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on where this one left off.", file=sys.stderr)
        return 130


def _say(text: str) -> None:
    print(text, flush=True)


def _config(arguments: argparse.Namespace) -> RunConfig:
    from harness import config

    exact = ["engine.exact_buckets=true"] if getattr(arguments, "exact_buckets", False) else []
    return config.load([*arguments.overrides, *exact])


def _run(arguments: argparse.Namespace) -> int:
    return _stages(arguments, "predict", "score", fetch=arguments.fetch, publish=True)


def _predict(arguments: argparse.Namespace) -> int:
    return _stages(arguments, "predict")


def _score(arguments: argparse.Namespace) -> int:
    return _stages(arguments, "score")


def _stages(
    arguments: argparse.Namespace, *stages: str, fetch: bool = False, publish: bool = False
) -> int:
    from harness.run import run

    config = _config(arguments)
    outcome = run(config, frozenset(stages), fetch, _say)
    if publish and any(systems for _, systems in outcome.scored):
        loaded = [cohort for cohort, _ in outcome.scored]
        model, files = _publish(config, False, loaded)
        from harness.leaderboard.terminal import published_line
        from harness.tracking import log, tracking_uri

        logged = log(config, outcome.scored, files, _say)
        if line := published_line(model, files[0]):
            _say(f"  {line}")
        _say("")
        for path in files:
            _say(f"  {path}")
        if logged:
            _say(f"  MLflow: {tracking_uri(config)} (make dashboard)")
    fresh = outcome.generated or outcome.scores_written or outcome.failures
    _say("" if fresh else "  Everything was up to date; nothing was re-done.")
    for failure in outcome.failures:
        print(f"reportcard: not run: {failure}", file=sys.stderr)
    return 2 if outcome.failures else 0


def _generate(arguments: argparse.Namespace) -> int:
    from harness.generating import generate_file

    return generate_file(
        _config(arguments),
        arguments.requests,
        arguments.out,
        token_ids=arguments.token_ids,
        data_class=arguments.data_class,
        dua_id=arguments.dua,
        say=_say_aside,
    )


def _prompt(arguments: argparse.Namespace) -> int:
    from harness.prompting import show_prompts

    return show_prompts(arguments.overrides, arguments.json, _say)


def _check(arguments: argparse.Namespace) -> int:
    from harness.checking import check_models

    return check_models(_config(arguments), arguments.studies, _say)


def _new_model(arguments: argparse.Namespace) -> int:
    from harness.new_model import write_model

    return write_model(arguments.name, _say)


def _publish(
    config: RunConfig, everything: bool, cohorts: Sequence[Cohort] | None = None
) -> tuple[Json, list[Path]]:
    """Write the leaderboard's files and show its tables. Returns what was shown and the paths.

    cohorts: those that are loaded; None: the configured ones whose data is on this machine.
    """
    from harness.leaderboard.publish import write_model
    from harness.leaderboard.tables import collect
    from harness.leaderboard.terminal import render
    from harness.leaderboard.viewer import load_cohorts, write_viewers
    from harness.terminal import console

    model = collect(config.results_dir, everything)
    found = load_cohorts(config, model) if cohorts is None else cohorts
    viewers = write_viewers(
        model, [(cohort, config.protocol) for cohort in found], config.results_dir, config.text
    )
    tracked = cohorts is not None and config.tracking.enabled and _installed("mlflow")
    files = write_model(model, config.results_dir, viewers, tracked)
    render(model, console())
    return model, files


def _installed(package: str) -> bool:
    """Whether it could be imported; it is not."""
    from importlib.util import find_spec

    return find_spec(package) is not None


def _leaderboard(arguments: argparse.Namespace) -> int:
    from harness.cli_tables import release, take_names

    named = take_names(arguments, 2, "nothing, export DIR or verify DIR")
    if named:
        if len(named) != 2 or named[0] not in ("export", "verify"):
            from harness.api import ReportCardError

            raise ReportCardError(
                f"leaderboard takes export DIR or verify DIR, not {' '.join(named)}."
            )
        return release(arguments, named[0], Path(named[1]), _say)
    from harness.leaderboard.terminal import render_published
    from harness.terminal import console

    model, files = _publish(_config(arguments), arguments.all)
    render_published(model, console())
    for path in files:
        _say(f"  {path}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from harness.evaluation import evaluate
    from harness.progress import track
    from harness.store import write_atomic

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
        say=_say_aside,
    )
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if arguments.json == Path("-"):
        print(text, end="")
        return 0
    if arguments.json is not None:
        write_atomic(arguments.json, text)
    from harness.terminal import scores_table

    scores_table(result)
    return 0


def _judge_overrides(arguments: argparse.Namespace) -> list[str]:
    """--judge, --verdicts and --record in Hydra's words. Verdicts alone mean the recorded judge."""
    from harness.overrides import quoted

    judge = arguments.judge or ("recorded" if arguments.verdicts else None)
    given = {"judge.verdicts": arguments.verdicts, "judge.record": arguments.record}
    # Quoted, since a file may be called 2026 or null.
    paths = [f"{key}={quoted(str(path))}" for key, path in given.items() if path is not None]
    return [f"judge={judge}", *paths] if judge else paths


def _say_aside(text: str) -> None:
    """To stderr: stdout may be the JSON."""
    print(text, file=sys.stderr, flush=True)


def _compare(arguments: argparse.Namespace) -> int:
    from harness import cli_tables

    return cli_tables.compare(arguments, _say)


def _power(arguments: argparse.Namespace) -> int:
    from harness import cli_tables

    return cli_tables.power(arguments, _say)


def _explain(arguments: argparse.Namespace) -> int:
    from harness import cli_tables

    return cli_tables.explain(arguments, _say)


def _fetch(arguments: argparse.Namespace) -> int:
    from harness.cohort import open_dataset

    words = [word for word in arguments.overrides if "=" not in word]
    arguments.overrides = [word for word in arguments.overrides if "=" in word]
    if arguments.what == "weights":
        from harness.weights import fetch_weights, weights_dir

        fetch_weights(words, weights_dir(), _say)
        return 0
    if words:
        from harness.api import ReportCardError

        raise ReportCardError(f"fetch openi takes key=value only, not {' '.join(words)}.")
    config = _config(arguments)
    datasets = [open_dataset(plugin) for plugin in config.datasets if plugin.plugin == "openi"]
    datasets[0].fetch(_say)  # type: ignore[attr-defined]
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from harness.listing import show_list

    return show_list(arguments.what, arguments.json, _say)


def _doctor(arguments: argparse.Namespace) -> int:
    from harness.doctor import report
    from harness.terminal import doctor_table

    named = any(word.startswith("dataset=") for word in arguments.overrides)
    lines, able = report(_config(arguments), named, arguments.contact_sheet)
    doctor_table(lines)
    return 0 if able else 2


def _audit(arguments: argparse.Namespace) -> int:
    from harness.audit import run_audit

    return run_audit(
        arguments.what,
        metrics=_listed(arguments.metrics),
        overrides=arguments.overrides,
        repeats=arguments.repeats,
        out=arguments.out,
    )


def _validate(arguments: argparse.Namespace) -> int:
    from harness.validation import run_validation

    return run_validation(
        arguments.what,
        root=arguments.root,
        metrics=_listed(arguments.metrics),
        overrides=arguments.overrides,
        json_out=arguments.json,
    )


def _judge(arguments: argparse.Namespace) -> int:
    from harness.local_judge import serve

    return serve(
        arguments.gguf,
        port=arguments.port,
        threads=arguments.threads,
        slots=arguments.slots,
        context=arguments.context,
        say=_say,
    )


def _sections(arguments: argparse.Namespace) -> int:
    from harness.datasets.sections import read_sections

    rows = read_sections(arguments.files, arguments.parser)
    if arguments.json:
        _say(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    for row in rows:
        _say(row["file"])
        for part in row["sections"]:
            _say(f"  {part['start']:>6}  {part['name']:<16}  {len(part['text'].split())} words")
    return 0


def _listed(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


def _dashboard(arguments: argparse.Namespace) -> int:
    from harness.tracking.server import serve

    return serve(_config(arguments), arguments.port, _say)


def _serve(arguments: argparse.Namespace) -> int:
    from harness.leaderboard.serving import serve

    return serve(_config(arguments).results_dir, arguments.port, _say)


if __name__ == "__main__":
    sys.exit(main())
