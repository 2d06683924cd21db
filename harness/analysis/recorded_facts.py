"""What is recorded of one number: its row's card, cohort and score files, or what a source printed.

A side is named by a row (LABEL, LABEL@fingerprint, COHORT/LABEL), by a score folder, a scores.json
or the JSON of `reportcard evaluate`, or by published:SYSTEM[@COHORT].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reportcard.analysis.paired_comparison import check_label, run_folders
from reportcard.api import Json, ReportCardError
from reportcard.core.files import read_json, read_jsonl
from reportcard.publish.board.published import published
from reportcard.score.signature import Signature

COUNTS = ("cohort", "evaluated", "excluded_empty_reference", "failed", "empty_candidates")
CARD = ("weights", "revision", "inputs", "trained_on", "needs_train", "sees_references", "draws")
ABOUT = ("kind", "description", "licence", "url")


@dataclass
class Side:
    """facts: dotted names → what is recorded (absent: not recorded); values: key → score."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)
    predictions: str | None = None  # sha256


def find_sides(
    results_dir: Path, names: tuple[str, str], protocol: str, cohorts: Collection[str]
) -> tuple[Side, Side]:
    """Two sides, on one cohort where both have a row on it."""
    rows = [None if _elsewhere(n) else _rows(results_dir, n, protocol, cohorts) for n in names]
    shared = sorted(set(rows[0] or ()) & set(rows[1] or ()))
    found = []
    for name, folders in zip(names, rows, strict=True):
        if folders is not None:
            cohort = shared[0] if shared else sorted(folders)[0]
            found.append(_run(folders[cohort], f"{name.rpartition('/')[2]} on {cohort}"))
        elif name.startswith("published:"):
            found.append(_published(name.removeprefix("published:")))
        else:
            found.append(_path(Path(name)))
    return found[0], found[1]


def _elsewhere(name: str) -> bool:
    return name.startswith("published:") or Path(name).exists()


def _rows(results_dir: Path, name: str, protocol: str, cohorts: Collection[str]) -> dict[str, Path]:
    """Cohort folder → score folder of a row."""
    wanted, _, label = name.rpartition("/")
    folders = run_folders(results_dir, protocol, cohorts)
    for path in (results_dir / "scores").glob(f"*/*/{protocol}"):
        if path.parts[-2] == label:  # an older fingerprint, by its folder
            folders[path.parts[-3], label] = path
    check_label(label, sorted({x for _, x in folders}), f"{results_dir} under protocol {protocol}")
    found = {
        cohort: path
        for (cohort, x), path in folders.items()
        if x == label and wanted in ("", cohort, cohort.rpartition("@")[0])
    }
    if not found:
        raise ReportCardError(f"{label} has no row on {wanted}.")
    return found


def _path(path: Path) -> Side:
    if path.is_dir():
        files = [*path.glob("scores.json"), *path.glob("*/scores.json")]
        if not files:
            raise ReportCardError(f"{path} holds no scores.json. Name a folder of results/scores.")
        return _run(path if files[0].parent != path else path.parent, str(path), files)
    saved = read_json(path)
    if "keys" in saved and "metric" in saved:
        return _run(path.parent.parent, str(path), [path])
    if not isinstance(saved.get("metrics"), dict):
        raise ReportCardError(f"{path} is no scores.json, and not what evaluate --json writes.")
    side = Side(str(path))
    _signatures(side, saved["metrics"])
    side.facts |= {"cohort.n": saved.get("n"), "scoring.protocol": saved.get("protocol")}
    return side


def _run(folder: Path, name: str, files: Iterable[Path] | None = None) -> Side:
    """folder: scores/<cohort>/<model>/<protocol>."""
    side = Side(name)
    for path in sorted(files or folder.glob("*/scores.json")):
        _scores(side, read_json(path))
    if len(folder.absolute().parents) > 3:
        results, (cohort, model) = folder.absolute().parents[3], folder.absolute().parts[-3:-1]
        _cohort(side, results / "cohorts" / f"{cohort}.json")
        _predictions(side, results / "predictions" / cohort / model)
    return side


def _scores(side: Side, saved: Json) -> None:
    metric, facts = saved["metric"], side.facts
    facts["cohort.fingerprint"] = saved["cohort_fingerprint"]
    facts["cohort.name"] = saved["cohort"]
    facts["model.fingerprint"] = saved["model_fingerprint"]
    counts = saved.get("counts", {})
    more = sorted(name for name in counts if name.startswith("failed_"))
    facts |= {f"counts.{name}": counts[name] for name in (*COUNTS, *more) if name in counts}
    about = f"metric {metric}"
    facts[f"{about}.fingerprint"] = saved.get("metric_fingerprint")
    facts[f"{about}.read by"] = saved.get("read_by") or "nobody"
    stats = dict(saved.get("stats", {}))
    facts[f"{about}.centre"] = stats.pop("centre", "point")
    facts[f"{about}.interval"] = _text(stats)
    if "not_run" in saved:
        facts[f"{about}.not run"] = saved["not_run"]
    _signatures(side, saved["keys"])


def _signatures(side: Side, keys: Json) -> None:
    for key, entry in keys.items():
        side.values[key] = entry.get("value")
        signature = Signature.parse(str(entry.get("signature", "")))
        metric = key.partition(".")[0]
        facts = {
            "scoring.protocol": signature.protocol,
            "scoring.normalisation": signature.text,
            "scoring.sections": signature.sections,
            f"metric {metric}.version": signature.version,
            f"metric {metric}.variant": "|".join(signature.variant) or None,
        }
        side.facts |= {name: value for name, value in facts.items() if value is not None}
        if key.count(".") == 1:  # not those of single classes
            for name in ("n", "unscored"):
                side.facts[f"metric {metric}.{name}"] = entry.get(name)


def _cohort(side: Side, path: Path) -> None:
    if not path.is_file():
        return
    saved = read_json(path)
    steps = (f"{s['rule']} {s['after']}" for s in saved.get("attrition", ()))
    side.facts |= {
        "cohort.dataset": saved.get("dataset"),
        "cohort.n": saved.get("n_studies"),
        "cohort.attrition": " → ".join(steps),
        "cohort.views": _text(saved.get("views") or {}),
        "cohort.train part": saved.get("train_fingerprint"),
    }


def _predictions(side: Side, folder: Path) -> None:
    if (folder / "DONE").is_file():
        done = read_json(folder / "DONE")
        side.predictions = done.get("predictions_sha256")
        side.facts |= {f"answers.{k}": v for k, v in done.get("status", {}).items()}
    if (folder / "predictions.jsonl").is_file():
        rows = (row for _, row in read_jsonl(folder / "predictions.jsonl"))
        used = Counter(name for row in rows for name in row.get("used", ()))
        side.facts |= {f"inputs used.{name}": count for name, count in used.items()}
    if not (folder / "card.json").is_file():
        return
    saved = read_json(folder / "card.json")
    card, environment = saved.get("card", {}), saved.get("environment", {})
    facts = side.facts
    facts["model.plugin"] = saved.get("plugin")
    facts |= {f"model.{name}": _text(card.get(name)) for name in CARD}
    facts |= {f"about.{name}": _text(card.get(name)) for name in ABOUT}
    facts |= {f"option.{k}": _text(v) for k, v in saved.get("options", {}).items()}
    facts["model.marks"] = _text(saved.get("marks"))
    facts["model.notes"] = _text(saved.get("notes"))
    git = environment.get("git") or {}
    facts |= {"code.commit": git.get("commit"), "code.uncommitted changes": git.get("dirty")}
    facts |= {f"machine.{k}": _text(environment.get(k)) for k in ("python", "platform", "gpus")}
    facts["code.reportcard"] = environment.get("reportcard")
    facts |= {f"package.{k}": v for k, v in environment.get("packages", {}).items()}


def _published(wanted: str) -> Side:
    system, _, cohort = wanted.partition("@")
    boards = published()
    known = sorted({f["system"] for board in boards for f in board["figures"]})
    if system not in known:
        names = ", ".join(known)
        raise ReportCardError(f"No figure of '{system}' in results/published. Systems: {names}.")
    found = [
        board
        for board in boards
        if board["name"].startswith(cohort) and any(f["system"] == system for f in board["figures"])
    ]
    if len(found) != 1:
        names = "; ".join(b["name"].removesuffix(" — as published") for b in found or boards)
        raise ReportCardError(f"Say which: published:{system}@COHORT, COHORT one of: {names}.")
    (board,) = found
    side = Side(f"{system}, {board['name']}")
    figures = [f for f in board["figures"] if f["system"] == system]
    side.facts = {
        "cohort.dataset": board["dataset"],
        "scoring.sections": board["section"],
        "about.source": "; ".join(dict.fromkeys(f["source"] for f in figures)),
        "about.second hand": any(f["second_hand"] for f in figures),
        "about.note": "; ".join(dict.fromkeys(f["note"] for f in figures if f["note"])) or "none",
        **({} if board["n"] is None else {"cohort.n": board["n"]}),
    }
    for figure in figures:
        if figure["metric"] is not None:
            side.values[figure["metric"]] = figure["value"]
    return side


def _text(value: Any) -> Any:
    """Lists and mappings in a line; `none` for what is recorded as absent."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text(v)}" for k, v in sorted(value.items())) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(str(_text(item)) for item in value) or "none"
    return "none" if value is None else value
