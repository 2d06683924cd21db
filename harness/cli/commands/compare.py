"""The verbs about rows that are there: compare, power, explain, and releases of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reportcard.api import Json, ReportCardError
from reportcard.cli.commands.output import say

if TYPE_CHECKING:
    from reportcard.config.settings import RunConfig
    from reportcard.score.scorer import Scorer


def take_names(arguments: argparse.Namespace, most: int, what: str) -> list[str]:
    """Words that are no key=value, taken out of the overrides; a path may hold an equals sign."""
    words = list(arguments.overrides)
    named = [w for w in words if "=" not in w or ("/" in w.split("=")[0] and Path(w).exists())]
    if len(named) > most:
        raise ReportCardError(f"{arguments.verb} takes {what}, not {' '.join(named)}.")
    arguments.overrides = [word for word in words if word not in named]
    return named


def _chosen(arguments: argparse.Namespace) -> tuple[RunConfig, set[str]]:
    """The configuration, and the cohorts that were asked for by name (empty: all)."""
    from reportcard.config import compose as config

    chosen = config.load(arguments.overrides)
    asked = any(word.startswith("dataset=") for word in arguments.overrides)
    limited = f"-first{chosen.limit}" if chosen.limit else ""
    return chosen, {f"{p.label}{limited}" for p in chosen.datasets if asked or limited}


def _open(chosen: RunConfig) -> list[Scorer]:
    from reportcard.score.scorer import open_metrics

    return open_metrics(chosen.metrics, chosen.overrides)


def _write(path: Path | None, value: Any) -> None:
    from reportcard.core.files import write_atomic

    if path is not None:
        text = json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        print(text, end="") if path == Path("-") else write_atomic(path, text)


def _finite(value: Any) -> Any:
    """NaN, which JSON cannot say, as null."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def _quiet(arguments: argparse.Namespace) -> bool:
    return bool(arguments.json == Path("-"))


def compare(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.paired_comparison import compare_runs, runs_of
    from reportcard.cli.tables_compare import comparison_table

    names = take_names(arguments, 2, "two rows, or --all")
    if arguments.all:
        return _compare_all(arguments, names)
    if len(names) != 2:
        raise ReportCardError("compare takes two rows, A and B, or --all (reportcard leaderboard).")
    chosen, cohorts = _chosen(arguments)
    scorers, labels = _open(chosen), (names[0], names[1])
    written = []
    for cohort, pair in runs_of(chosen.results_dir, labels, chosen.protocol.name, cohorts):
        found = compare_runs(pair, scorers, arguments.metric, arguments.trials)
        rows = [row.to_json() for row in found.rows]
        written.append({"cohort": cohort, "rows": rows, "left_out": dict(found.left_out)})
        if not _quiet(arguments):
            comparison_table(cohort, labels, found)
    about = {"protocol": chosen.protocol.name, "trials": arguments.trials}
    _write(arguments.json, {"a": names[0], "b": names[1], **about, "cohorts": written})
    return 0


def _compare_all(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    from reportcard.cli.tables_compare import pairs_table
    from reportcard.publish.board.build import boards_of
    from reportcard.publish.board.pairwise_matrix import pairs_of_board

    if names:
        raise ReportCardError(f"--all compares every pair; leave out {' '.join(names)}.")
    chosen, cohorts = _chosen(arguments)
    written = []
    for board in boards_of(chosen.results_dir):
        if board["protocol"] != chosen.protocol.name:
            continue
        if cohorts and board["cohort"]["name"] not in cohorts:
            continue
        key = _column(board, arguments.metric)
        if key is None:
            continue
        found = pairs_of_board(chosen.results_dir, board, key)
        written.append({"board": board["id"], **found})
        if not _quiet(arguments):
            labels = {row["model"]: row["label"] for row in board["rows"]}
            pairs_table(f"{key} on {board['cohort_folder']}", found, labels)
    if not written:
        raise ReportCardError(f"No column '{arguments.metric}' on these boards.")
    _write(arguments.json, {"boards": written})
    return 0


def _column(board: Json, wanted: str | None) -> str | None:
    """The key that --metric names, or that stands for the metric that it names; else the primary
    one."""
    if wanted is None:
        primary: str | None = board["primary"]
        return primary
    for column in board["columns"]:
        if column["key"] == wanted or (column["metric"] == wanted and column["lead"]):
            key: str = column["key"]
            return key
    return None


def power(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.paired_comparison import check_label, run_folders, runs_of
    from reportcard.analysis.sample_size import plan_one, plan_pair
    from reportcard.cli.tables_compare import power_table

    names = take_names(arguments, 2, "one row or two")
    difference: float | None = arguments.difference
    if not names:
        raise ReportCardError("power takes two rows, or one row and --difference.")
    if len(names) == 1 and difference is None:
        raise ReportCardError("With one row, say how large a difference: --difference 0.01")
    if difference is not None and not 0 < abs(difference) < float("inf"):
        raise ReportCardError(f"--difference is a number other than 0, not {difference}.")
    chosen, cohorts = _chosen(arguments)
    scorers, protocol, where = _open(chosen), chosen.protocol.name, chosen.results_dir
    written = []
    if len(names) == 2:
        pairs = runs_of(where, (names[0], names[1]), protocol, cohorts)
        plans = [(c, plan_pair(p, scorers, arguments.metric, difference)) for c, p in pairs]
    else:
        assert difference is not None
        folders = run_folders(where, protocol, cohorts)
        check_label(names[0], sorted({n for _, n in folders}), f"{where} under protocol {protocol}")
        plans = [
            (c, plan_one(f, scorers, arguments.metric, difference, arguments.correlation))
            for (c, label), f in folders.items()
            if label == names[0]
        ]
    for cohort, found in plans:
        written.append({"cohort": cohort, "keys": [plan.to_json() for plan in found]})
        if not _quiet(arguments):
            power_table(f"{' − '.join(names)} on {cohort}", found)
    _write(arguments.json, {"rows": names, "protocol": protocol, "cohorts": written})
    return 0


def explain(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.score_difference import explain_rows
    from reportcard.cli.tables_compare import explain_table

    names = take_names(arguments, 2, "two rows, score folders or published figures")
    if len(names) != 2:
        raise ReportCardError(
            "explain takes two of: a row (LABEL or COHORT/LABEL), a score folder or file,"
            " published:SYSTEM."
        )
    chosen, cohorts = _chosen(arguments)
    where, protocol = chosen.results_dir, chosen.protocol.name
    found = explain_rows(where, (names[0], names[1]), protocol, cohorts, arguments.metric)
    if not _quiet(arguments):
        explain_table(found)
    _write(arguments.json, found)
    return 0


def release(arguments: argparse.Namespace, action: str, folder: Path) -> int:
    """leaderboard export DIR, leaderboard verify DIR."""
    from reportcard.config import compose as config

    if action == "export":
        from reportcard.publish.release.export import export

        say(export(config.load(arguments.overrides).results_dir, folder, arguments.all))
        return 0
    from reportcard.publish.release.verify import verify

    config.load(arguments.overrides)  # plugins named on the command line
    found = verify(folder)
    for line in found.lines:
        say(line)
    return 2 if found.problems else 0
