"""What `reportcard` may be told: the verbs, their options, and their help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from reportcard.core.version import __version__

OVERRIDES = """\
overrides are Hydra's key=value; the common ones:
  model=A,B            models (reportcard list models); default: those of the suite
  dataset=A,B          cohorts (reportcard list datasets)
  metrics=bleu,rouge   metrics (reportcard list metrics)
  protocol=r2gen       how text is prepared and which variants score it
  suite=NAME           a list of all three (conf/suite)
  limit=200            the first 200 studies only: a smoke test, on a tab of its own
  shard=3/16           of predict: the third of sixteen parts; run puts them together
  results_dir=DIR  data_dir=DIR  stats.resamples=1000  stats.seed=7  tracking=none
  text=on              reports of data that is not open in the study viewer too, in private files
  judge=local judge.KEY=VALUE   who judges CheXprompt and RadFact (conf/judge; make judge)
  model.KEY=VALUE      an option of the model (conf/model/NAME.yaml), and model.label=ROW_NAME;
                       with weights: weights base max_new_tokens dtype device batch_size sampling
                       kv_cache
  plugin=FILE.py       a model, metric or dataset of your own
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line; a verb's name is in `verb`, and verbs/ holds what it does."""
    top = argparse.ArgumentParser(
        prog="reportcard",
        description="Benchmark chest X-ray report generation: run models over fixed cohorts, score"
        " the reports with intervals, publish a leaderboard whose numbers can be traced.",
        epilog="Start with: reportcard run --fetch   (baselines on Open-I; no GPU, no account)",
    )
    top.add_argument("--version", action="version", version=f"reportcard {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB")
    with_overrides: list[tuple[argparse.ArgumentParser, str]] = []

    def verb(
        name: str, text: str, overrides: bool = True, names: str = ""
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name,
            help=text,
            description=text,
            epilog=OVERRIDES if overrides else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if overrides:
            with_overrides.append((sub, names))
        # names: words that are no key=value stand among the overrides; verbs/rows.py takes them out
        sub.set_defaults(verb=name, names=bool(names))
        return sub

    run = verb("run", "predict, score, publish and track: the whole path, resumable")
    run.add_argument("--fetch", action="store_true", help="get open data that is missing")
    predict = verb("predict", "generate reports for a cohort, resuming where a run stopped")
    verb("score", "score finished predictions")
    generate = verb("generate", "a model on your own images: requests in, predictions out")
    _add_generate(generate)
    prompt = verb("prompt", "the exact prompt, token ids and inputs of a study; loads no weights")
    prompt.add_argument("--json", action="store_true", help="as JSON")
    check = verb("check", "the conformance suite on the phantom: order, batches, bad input, vision")
    check.add_argument("--studies", type=int, default=20, help="of the vision-use probe (20)")
    new = verb("new-model", "write an adapter, its YAML and its test", overrides=False)
    new.add_argument("name", metavar="NAME", help="lower case: my_model")
    board = verb(
        "leaderboard",
        "rebuild the page, the JSON and the CSV; export DIR, verify DIR: a release of results",
        names="[export DIR | verify DIR]",
    )
    board.add_argument("--all", action="store_true", help="older fingerprints of a model too")
    _add_evaluate(verb("evaluate", "score your own candidate/reference pairs"))
    _add_comparing(verb)
    fetch = verb(
        "fetch", "get public data or weights (chexbert radgraph bertscore), verified by hash"
    )
    fetch.add_argument("what", choices=["openi", "weights"])
    listing = verb("list", "what there is to choose from", overrides=False)
    listing.add_argument("what", choices=["models", "datasets", "metrics", "protocols", "suites"])
    listing.add_argument("--json", action="store_true", help="as JSON")
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
    cut = verb("sections", "cut reports as the official MIMIC parser does", overrides=False)
    cut.add_argument("files", type=Path, nargs="+", metavar="FILE", help="one report, plain text")
    cut.add_argument("--parser", choices=["2.0", "2.1"], default="2.1", help="its version (2.1)")
    cut.add_argument("--json", action="store_true", help="names, texts and offsets, as JSON")
    doctor = verb("doctor", "check this machine and the configured run; dataset=NAME looks inside")
    doctor.add_argument(
        "--contact-sheet",
        type=Path,
        metavar="OUT.png",
        help="draw ten studies of the dataset: images, views, boxes, lengths of texts",
    )
    dashboard = verb("dashboard", "serve the MLflow runs on 127.0.0.1")
    dashboard.add_argument("--port", type=int, default=5000)
    serve = verb("serve", "the leaderboard and its study viewer on 127.0.0.1")
    serve.add_argument("--port", type=int, default=8104)
    for sub in (run, predict, generate):
        sub.add_argument(
            "--exact-buckets",
            action="store_true",
            help="batch only equally long prompts; models with dynamic image sizes may still pad"
            " (slower; engine.exact_buckets=true)",
        )
    for sub, names in with_overrides:  # last, behind the verb's own positionals
        sub.add_argument("overrides", nargs="*", metavar=f"{names} key=value".strip())
    return top


def _add_comparing(verb: Callable[..., argparse.ArgumentParser]) -> None:
    compare = verb("compare", "paired tests between models that were run: A minus B", names="A B")
    compare.add_argument("--all", action="store_true", help="every pair of a board, one metric")
    compare.add_argument("--metric", help="one key or metric, e.g. bleu.bleu_4 or rouge")
    compare.add_argument("--trials", type=int, default=10_000, help="randomisations (10000)")
    power = verb("power", "how many studies it takes to tell two rows apart", names="A [B]")
    power.add_argument("--metric", help="one key or metric, e.g. bleu.bleu_4 or rouge")
    power.add_argument("--difference", type=float, help="to find (the one between A and B)")
    power.add_argument(
        "--correlation", type=float, default=0.0, help="of A with the unknown other row (0)"
    )
    explain = verb(
        "explain",
        "why two numbers differ: each of A, B is a row, a score folder, or published:SYSTEM",
        names="A B",
    )
    explain.add_argument("--metric", help="one key or metric")
    for sub in (compare, power, explain):
        sub.add_argument("--json", type=Path, metavar="OUT", help="write it here ('-': stdout)")


def _add_generate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "requests",
        type=Path,
        help='JSONL, one study per line: {"study_id", "images": [{"path", "view"}], "indication",'
        ' "technique", "comparison", "prior": {"images", "report"}, "age", "sex", "task", "phrase"}'
        " (paths are relative to the file)",
    )
    sub.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="predictions, JSONL; resumable"
    )
    sub.add_argument("--token-ids", action="store_true", help="with the ids that were generated")
    sub.add_argument(
        "--data-class",
        choices=["open", "registered", "credentialed"],
        default="credentialed",
        help="of the requests; only open data may go to any endpoint (credentialed)",
    )
    sub.add_argument("--dua", metavar="ID", help="the data-use agreement in conf/egress.yaml")


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
