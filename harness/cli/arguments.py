"""Arguments that several commands share, and the configuration that they make."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reportcard.core.errors import ReportCardError

if TYPE_CHECKING:
    from reportcard.config.settings import RunConfig

OVERRIDES = """\
key=value settings (all of them: the YAML files in conf/), the common ones:
  model=A,B            models to run (see: reportcard list models); default: those of the suite
  dataset=A,B          cohorts (see: reportcard list datasets)
  metrics=bleu,rouge   metrics (see: reportcard list metrics)
  protocol=r2gen       how texts are prepared and which metric variants score them
  suite=NAME           a named list of models, cohorts and metrics (conf/suite)
  limit=200            use only the first 200 studies, for a quick test; published separately
  shard=3/16           predict only the third of sixteen parts; `run` merges the parts
  results_dir=DIR      folder of results            data_dir=DIR   folder of datasets
  stats.resamples=1000 bootstrap replicates         stats.seed=7   their seed
  tracking=none        log no MLflow run
  text=on              show reports of restricted data in the study viewer too (private files)
  judge=local          who judges CheXprompt and RadFact (conf/judge), and judge.KEY=VALUE
  model.KEY=VALUE      an option of the model (conf/model/NAME.yaml); model.label=NAME renames its
                       row; models with weights take: weights base max_new_tokens dtype device
                       batch_size sampling kv_cache
  plugin=FILE.py       a model, metric or dataset of your own; also a folder or dotted.module, and
                       :CLASS behind any of them
"""


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Let a command take key=value settings, and show the common ones in its help."""
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="settings, see below"
    )
    parser.epilog = OVERRIDES


def add_words(parser: argparse.ArgumentParser, metavar: str, help_text: str) -> None:
    """Let a command take names and key=value settings; `split_words` separates them."""
    parser.add_argument(
        "words", nargs="*", default=[], metavar=f"{metavar} key=value", help=help_text
    )
    parser.epilog = OVERRIDES


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (names, key=value settings). The path of an existing file may hold an equals sign."""
    names = [w for w in words if "=" not in w or ("/" in w.split("=")[0] and Path(w).exists())]
    return names, [word for word in words if word not in names]


def add_json(parser: argparse.ArgumentParser) -> None:
    """Let a command write its result to a JSON file."""
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the result as JSON ('-': to stdout)"
    )


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Let a command print JSON instead of text."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_exact_buckets(parser: argparse.ArgumentParser) -> None:
    """Let a command batch only prompts of equal length."""
    parser.add_argument(
        "--exact-buckets",
        action="store_true",
        help="batch only prompts of equal length: slower, less padding (models with dynamic image"
        " sizes may still pad); same as engine.exact_buckets=true",
    )


def add_data_class(parser: argparse._ActionsContainer, what: str) -> None:
    """Let the user say how protected the texts of a file are."""
    parser.add_argument(
        "--data-class",
        choices=["open", "registered", "credentialed"],
        default="credentialed",
        help=f"how protected the {what} are; only open data may be sent to any server"
        " (default: credentialed)",
    )
    parser.add_argument(
        "--dua", metavar="ID", help="the data use agreement, as named in conf/egress.yaml"
    )


def comma_list(text: str | None) -> list[str]:
    """Return the names in a comma list; None is an empty list."""
    return [name for name in (text or "").split(",") if name]


def load_config(overrides: Sequence[str], exact_buckets: bool = False) -> RunConfig:
    """Compose the configuration of a run from key=value settings."""
    from reportcard.config import compose

    exact = ["engine.exact_buckets=true"] if exact_buckets else []
    return compose.load([*overrides, *exact])


def load_config_and_cohorts(overrides: Sequence[str]) -> tuple[RunConfig, set[str]]:
    """Return the configuration and the cohorts that were asked for by name (empty: all)."""
    config = load_config(overrides)
    limited = f"-first{config.limit}" if config.limit else ""
    return config, {
        f"{p.label}{limited}" for p in config.datasets if config.datasets_named or limited
    }


def check_scored(results_dir: Path, names: Sequence[str] = ()) -> None:
    """Raise ReportCardError when nothing was scored yet, unless all names are files or figures."""
    from reportcard.core.layout import Results

    if not Results(results_dir).current.is_file() and not (
        names and all(name.startswith("published:") or Path(name).exists() for name in names)
    ):
        raise ReportCardError(f"Nothing was scored in {results_dir} yet. Run: reportcard run")


def at_most(names: Sequence[str], most: int, command: str, takes: str) -> None:
    """Raise ReportCardError when a command was given more names than it takes.

    Args:
        names: what it was given.
        most: how many it takes.
        command: its name.
        takes: what it takes, in words.
    """
    if len(names) > most:
        raise ReportCardError(f"{command} takes {takes}, not {' '.join(names)}.")
