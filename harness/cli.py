"""The `reportcard` command: thin verbs over the stages; each verb imports what it needs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import __version__

if TYPE_CHECKING:
    from harness.settings import RunConfig

OVERRIDES = """\
overrides are Hydra's key=value; the common ones:
  model=A,B            models (reportcard list models); default: those of the suite
  dataset=A,B          cohorts (reportcard list datasets)
  metrics=bleu,rouge   metrics (reportcard list metrics)
  protocol=r2gen       how text is prepared and which variants score it
  suite=NAME           a list of all three (conf/suite)
  limit=200            the first 200 studies only: a smoke test, on a tab of its own
  results_dir=DIR  data_dir=DIR  stats.resamples=1000  stats.seed=7  tracking=none
  judge=local judge.KEY=VALUE   who judges CheXprompt and RadFact (conf/judge; make judge)
  model.KEY=VALUE      an option of the model (conf/model/NAME.yaml), and model.label=ROW_NAME
  plugin=FILE.py       a model, metric or dataset of your own
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. User errors are one sentence on stderr, code 2."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    # argparse fills an open-ended positional once; overrides may also stand after an option.
    if rest and all("=" in word and word[0] != "-" for word in rest):
        arguments.overrides = [*getattr(arguments, "overrides", []), *rest]
    elif rest:
        parser.error(f"unrecognised: {' '.join(rest)} (reportcard VERB --help)")
    from harness.api import ReportCardError  # after --help has answered: it imports NumPy

    if not hasattr(arguments, "verb"):
        parser.print_help()
        return 0
    try:
        code: int = arguments.verb(arguments)
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


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="reportcard",
        description="Benchmark chest X-ray report generation: run models over fixed cohorts, score"
        " the reports with intervals, publish a leaderboard whose numbers can be traced.",
        epilog="Start with: reportcard run --fetch   (baselines on Open-I; no GPU, no account)",
    )
    top.add_argument("--version", action="version", version=f"reportcard {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB")
    with_overrides: list[argparse.ArgumentParser] = []

    def verb(name: str, text: str, overrides: bool = True) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name,
            help=text,
            description=text,
            epilog=OVERRIDES if overrides else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if overrides:
            with_overrides.append(sub)
        sub.set_defaults(verb=globals()[f"_{name}"])
        return sub

    run = verb("run", "predict, score, publish and track: the whole path, resumable")
    run.add_argument("--fetch", action="store_true", help="get open data that is missing")
    verb("predict", "generate reports for a cohort, resuming where a run stopped")
    verb("score", "score finished predictions")
    board = verb("leaderboard", "rebuild the page, the JSON and the CSV from the score files")
    board.add_argument("--all", action="store_true", help="older fingerprints of a model too")
    _add_evaluate(verb("evaluate", "score your own candidate/reference pairs"))
    compare = verb("compare", "paired tests between two models that were run: A minus B")
    compare.add_argument("a", metavar="A")
    compare.add_argument("b", metavar="B")
    compare.add_argument("--metric", help="one key or metric, e.g. bleu.bleu_4 or rouge")
    compare.add_argument("--trials", type=int, default=10_000, help="randomisations (10000)")
    fetch = verb(
        "fetch", "get public data or weights (chexbert radgraph bertscore), verified by hash"
    )
    fetch.add_argument("what", choices=["openi", "weights"])
    listing = verb("list", "what there is to choose from", overrides=False)
    listing.add_argument("what", choices=["models", "datasets", "metrics", "protocols", "suites"])
    audit = verb("audit", "what a judge, or each metric, sees of errors that we made on purpose")
    audit.add_argument("what", choices=["judge", "metrics"])
    audit.add_argument("--metrics", help="comma list (judge: chexprompt; metrics: every metric)")
    audit.add_argument("--repeats", type=int, default=2, help="times the judge is asked (2)")
    audit.add_argument("--out", type=Path, metavar="DIR", help="write tables, JSON and plot here")
    validate = verb("validate", "agreement of metrics and a judge with radiologists' error counts")
    validate.add_argument("what", choices=["rexval", "radevalx"])
    validate.add_argument("--root", type=Path, required=True, help="the folder of its files")
    validate.add_argument("--metrics", help="comma list (every metric that can run)")
    validate.add_argument("--json", type=Path, metavar="OUT", help="write the result here")
    judge = verb("judge", "serve a local judge on 127.0.0.1, OpenAI-compatible", overrides=False)
    judge.add_argument("--gguf", type=Path, help="model file (SmolLM2-135M-Instruct, fetched)")
    judge.add_argument("--port", type=int, default=8103)
    judge.add_argument("--threads", type=int, default=1)
    judge.add_argument("--slots", type=int, default=2, help="questions answered side by side")
    judge.add_argument("--context", type=int, default=4096, help="tokens per slot")
    verb("doctor", "check this machine and the configured run")
    dashboard = verb("dashboard", "serve the MLflow runs on 127.0.0.1")
    dashboard.add_argument("--port", type=int, default=5000)
    for sub in with_overrides:  # last, behind the verb's own positionals
        sub.add_argument("overrides", nargs="*", metavar="key=value")
    return top


def _add_evaluate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "pairs",
        type=Path,
        help="JSONL, CSV or JSON with study_id, candidate, reference and optionally patient_id; or"
        " grounded: prediction and target, lists of {text, boxes}",
    )
    sub.add_argument("--metrics", help="comma list; default: the protocol's columns, or bleu,rouge")
    sub.add_argument("--protocol", default="reportcard", help="see reportcard list protocols")
    sub.add_argument("--resamples", type=int, default=500, help="bootstrap replicates (500)")
    sub.add_argument("--seed", type=int, help="of the bootstrap (the protocol's own, else 0)")
    sub.add_argument("--train", type=Path, help="train reports, for a protocol with a vocabulary")
    judged = sub.add_argument_group("judged metrics (chexprompt, radfact)")
    judged.add_argument("--judge", metavar="NAME", help="local, openai, azure, recorded, …")
    judged.add_argument("--verdicts", type=Path, help="what --judge recorded replays (JSONL)")
    judged.add_argument("--record", type=Path, help="write the verdicts that were used (JSONL)")
    judged.add_argument(
        "--data-class",
        choices=["open", "registered", "credentialed"],
        default="credentialed",
        help="of the pairs; only open text may go to any judge (credentialed)",
    )
    judged.add_argument("--dua", metavar="ID", help="the data-use agreement in conf/egress.yaml")
    sub.add_argument("--json", type=Path, metavar="OUT", help="write the result here ('-': stdout)")


def _say(text: str) -> None:
    print(text, flush=True)


def _config(arguments: argparse.Namespace) -> RunConfig:
    from harness import config

    return config.load(arguments.overrides)


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
        files = _publish(config, everything=False)
        from harness.tracking import log, tracking_uri

        logged = log(config, outcome.scored, files, _say)
        _say("")
        for path in files:
            _say(f"  {path}")
        if logged:
            _say(f"  MLflow: {tracking_uri(config)} (make dashboard)")
    fresh = outcome.generated or outcome.scores_written
    _say("" if fresh else "  Everything was up to date; nothing was re-done.")
    for failure in outcome.failures:
        print(f"reportcard: not run: {failure}", file=sys.stderr)
    return 2 if outcome.failures else 0


def _publish(config: RunConfig, everything: bool) -> list[Path]:
    """Write the leaderboard's files, show its tables, and return the paths."""
    from harness.leaderboard.publish import write_model
    from harness.leaderboard.tables import collect
    from harness.leaderboard.terminal import render
    from harness.terminal import console

    model = collect(config.results_dir, everything)
    files = write_model(model, config.results_dir)
    render(model, console())
    return files


def _leaderboard(arguments: argparse.Namespace) -> int:
    for path in _publish(_config(arguments), arguments.all):
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
    judge = arguments.judge or ("recorded" if arguments.verdicts else None)
    given = {"judge": judge, "judge.verdicts": arguments.verdicts, "judge.record": arguments.record}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def _say_aside(text: str) -> None:
    """To stderr: stdout may be the JSON."""
    print(text, file=sys.stderr, flush=True)


def _compare(arguments: argparse.Namespace) -> int:
    from harness import config
    from harness.comparison import compare_runs, runs_of
    from harness.score import open_metrics
    from harness.terminal import comparison_table

    chosen = config.load(arguments.overrides)
    scorers = open_metrics(chosen.metrics, chosen.overrides)
    labels = (arguments.a, arguments.b)
    asked = any(word.startswith("dataset=") for word in arguments.overrides)
    limited = f"-first{chosen.limit}" if chosen.limit else ""
    cohorts = {f"{plugin.label}{limited}" for plugin in chosen.datasets if asked or limited}
    for cohort, pair in runs_of(chosen.results_dir, labels, chosen.protocol.name, cohorts):
        rows = compare_runs(pair, scorers, arguments.metric, arguments.trials)
        comparison_table(cohort, labels, rows)
    return 0


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
    from harness.listing import entries
    from harness.terminal import list_table

    list_table(arguments.what, entries(arguments.what))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from harness.doctor import report
    from harness.terminal import doctor_table

    lines, able = report(_config(arguments))
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


def _listed(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


def _dashboard(arguments: argparse.Namespace) -> int:
    from harness.tracking import serve

    return serve(_config(arguments), arguments.port, _say)


if __name__ == "__main__":
    sys.exit(main())
