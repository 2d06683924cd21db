"""Collects every recorded fact behind a score, so that `explain` can compare two of them.

The user names a row (LABEL, LABEL@fingerprint, COHORT/LABEL), a score folder, a scores.json or the
JSON of `reportcard evaluate`, or published:SYSTEM[@COHORT]. The facts of a row come from its run
card, its cohort file and its score files; those of a published figure from its source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reportcard.analysis.paired_comparison import check_label, run_folders
from reportcard.api import ReportCardError
from reportcard.core.files import read_json, read_jsonl
from reportcard.core.layout import PredictionFolder, Results, VersionedName, score_files_in
from reportcard.core.records import from_json, to_json
from reportcard.data.cohort_file import CohortFile
from reportcard.predict.predictions_file import CardFile, DoneFile
from reportcard.publish.board.published import published
from reportcard.score.score_file import KeyScore, ScoreFile
from reportcard.score.signature import Signature

PUBLISHED = "published:"
COUNTS = ("cohort", "evaluated", "excluded_empty_reference", "failed", "empty_candidates")
CARD = ("weights", "revision", "inputs", "trained_on", "needs_train", "sees_references", "draws")
ABOUT = ("kind", "description", "licence", "url")


@dataclass
class RecordedFacts:
    """Everything that is recorded of one row, file or source.

    facts        dotted names → what is recorded; a name that is absent was not recorded
    values       key → score
    units        key → the unit of the score; a printed figure has none
    predictions  sha256 of the predictions that were scored
    """

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    predictions: str | None = None


@dataclass(frozen=True, slots=True)
class EvaluationFile:
    """What `reportcard evaluate --json` writes, as far as it is compared."""

    metrics: Mapping[str, KeyScore]
    n: int | None = None
    protocol: str | None = None


def recorded_facts(
    results_dir: Path, names: tuple[str, str], protocol: str, cohorts: Collection[str]
) -> tuple[RecordedFacts, RecordedFacts]:
    """Collect the facts of two rows, files or sources; of rows on one cohort where both have one.

    Args:
        results_dir: where the rows are.
        names: as the user wrote them (see the top of this module).
        protocol: the protocol of rows that are named by a label.
        cohorts: names of cohorts to look at; empty: all.

    Raises ReportCardError for a name that nothing goes by.
    """
    rows = [None if _elsewhere(n) else _rows(results_dir, n, protocol, cohorts) for n in names]
    shared = sorted(set(rows[0] or ()) & set(rows[1] or ()))
    found = []
    for name, folders in zip(names, rows, strict=True):
        if folders is not None:
            cohort = shared[0] if shared else sorted(folders)[0]
            found.append(_run(folders[cohort], f"{name.rpartition('/')[2]} on {cohort}"))
        elif name.startswith(PUBLISHED):
            found.append(_published(name.removeprefix(PUBLISHED)))
        else:
            found.append(_path(Path(name)))
    return found[0], found[1]


def _elsewhere(name: str) -> bool:
    return name.startswith(PUBLISHED) or Path(name).exists()


def _rows(results_dir: Path, name: str, protocol: str, cohorts: Collection[str]) -> dict[str, Path]:
    """Return cohort folder → score folder of the row that a user named."""
    wanted, _, label = name.rpartition("/")
    folders = run_folders(results_dir, protocol, cohorts)
    for path in Results(results_dir).all_scores.glob(f"*/*/{protocol}"):
        if path.parts[-2] == label:  # an older fingerprint, by its folder
            folders[path.parts[-3], label] = path
    check_label(label, sorted({x for _, x in folders}), f"{results_dir} under protocol {protocol}")
    found = {
        cohort: path
        for (cohort, x), path in folders.items()
        if x == label and wanted in ("", cohort, VersionedName.parse(cohort).label)
    }
    if not found:
        raise ReportCardError(f"{label} has no row on {wanted}.")
    return found


def _path(path: Path) -> RecordedFacts:
    """Collect the facts of a score folder, a scores.json, or what `evaluate --json` wrote."""
    if path.is_dir():
        files = score_files_in(path)
        if not files:
            raise ReportCardError(f"{path} holds no scores.json. Name a folder of results/scores.")
        return _run(path if files[0].parent != path else path.parent, str(path), files)
    saved = read_json(path)
    if "keys" in saved and "metric" in saved:
        return _run(path.parent.parent, str(path), [path])
    if not isinstance(saved.get("metrics"), dict):
        raise ReportCardError(f"{path} is no scores.json, and not what evaluate --json writes.")
    try:
        result = from_json(EvaluationFile, saved)
    except ValueError as error:
        raise ReportCardError(f"{path} is damaged ({error}).") from None
    found = RecordedFacts(str(path))
    _signatures(found, result.metrics)
    found.facts |= {"cohort.n": result.n, "scoring.protocol": result.protocol}
    return found


def _run(folder: Path, name: str, files: Iterable[Path] | None = None) -> RecordedFacts:
    """Collect the facts of a run. folder: scores/<cohort>/<system>/<protocol>."""
    found = RecordedFacts(name)
    for path in sorted(files or score_files_in(folder)):
        _scores(found, ScoreFile.read(path))
    if len(folder.absolute().parents) > 3:
        results = Results(folder.absolute().parents[3])
        cohort, system = folder.absolute().parts[-3:-1]
        _cohort(found, results.cohort(cohort))
        _predictions(found, results.predictions(cohort, system))
    return found


def _scores(found: RecordedFacts, file: ScoreFile) -> None:
    facts, about = found.facts, f"metric {file.metric}"
    facts["cohort.fingerprint"] = file.cohort_fingerprint
    facts["cohort.name"] = file.cohort
    facts["model.fingerprint"] = file.model_fingerprint
    more = sorted(name for name in file.counts if name.startswith("failed_"))
    facts |= {f"counts.{k}": file.counts[k] for k in (*COUNTS, *more) if k in file.counts}
    facts[f"{about}.fingerprint"] = file.metric_fingerprint
    facts[f"{about}.read by"] = [list(reader) for reader in file.read_by] or "nobody"
    centre = file.stats.centre if file.stats else None
    facts[f"{about}.centre"] = centre or "point"
    stats = to_json(replace(file.stats, centre=None)) if file.stats else {}
    facts[f"{about}.interval"] = _text(stats)
    if file.not_run is not None:
        facts[f"{about}.not run"] = file.not_run
    _signatures(found, file.keys)


def _signatures(found: RecordedFacts, keys: Mapping[str, KeyScore]) -> None:
    """Take values and the parts of the signatures out of the scores of one metric."""
    for key, score in keys.items():
        found.values[key] = score.value
        found.units[key] = score.unit
        signature = Signature.parse(score.signature or "")
        metric = key.partition(".")[0]
        facts = {
            "scoring.protocol": signature.protocol,
            "scoring.normalisation": signature.text,
            "scoring.sections": signature.sections,
            f"metric {metric}.version": signature.version,
            f"metric {metric}.variant": "|".join(signature.variant) or None,
        }
        found.facts |= {name: value for name, value in facts.items() if value is not None}
        if key.count(".") == 1:  # not those of single classes
            found.facts[f"metric {metric}.n"] = score.n
            found.facts[f"metric {metric}.unscored"] = score.unscored


def _cohort(found: RecordedFacts, path: Path) -> None:
    if not path.is_file():
        return
    cohort = CohortFile.read(path)
    found.facts |= {
        "cohort.dataset": cohort.dataset,
        "cohort.n": cohort.n_studies,
        "cohort.attrition": " → ".join(f"{step.rule} {step.after}" for step in cohort.attrition),
        "cohort.views": _text(cohort.views or {}),
        "cohort.train part": cohort.train_fingerprint,
    }


def _predictions(found: RecordedFacts, folder: PredictionFolder) -> None:
    if folder.done.is_file():
        done = DoneFile.read(folder.done)
        found.predictions = done.predictions_sha256 or None
        found.facts |= {f"answers.{k}": v for k, v in done.status.items()}
    if folder.log.is_file():
        answers = (answer for _, answer in read_jsonl(folder.log))
        used = Counter(name for answer in answers for name in answer.get("used", ()))
        found.facts |= {f"inputs used.{name}": count for name, count in used.items()}
    if not folder.card.is_file():
        return
    saved = CardFile.read(folder.card)
    card, environment = saved.card, saved.environment
    git = environment.get("git") or {}
    found.facts |= {
        "model.plugin": saved.plugin or None,
        **{f"model.{name}": _text(card.get(name)) for name in CARD},
        **{f"about.{name}": _text(card.get(name)) for name in ABOUT},
        **{f"option.{k}": _text(v) for k, v in saved.options.items()},
        "model.marks": _text(saved.marks),
        "model.notes": _text(saved.notes),
        "code.commit": git.get("commit"),
        "code.uncommitted changes": git.get("dirty"),
        **{f"machine.{k}": _text(environment.get(k)) for k in ("python", "platform", "gpus")},
        "code.reportcard": environment.get("reportcard"),
        **{f"package.{k}": v for k, v in environment.get("packages", {}).items()},
    }


def _published(wanted: str) -> RecordedFacts:
    """Collect the printed figures of SYSTEM or SYSTEM@COHORT."""
    system, _, cohort = wanted.partition("@")
    cohorts = published()
    known = sorted({figure.system for one in cohorts for figure in one.figures})
    if system not in known:
        names = ", ".join(known)
        raise ReportCardError(f"No figure of '{system}' in results/published. Systems: {names}.")
    found = [
        one
        for one in cohorts
        if one.goes_by(cohort) and any(figure.system == system for figure in one.figures)
    ]
    if len(found) != 1:
        names = "; ".join(one.name.removesuffix(" — as published") for one in found or cohorts)
        raise ReportCardError(f"Say which: published:{system}@COHORT, COHORT one of: {names}.")
    (one,) = found
    figures = [figure for figure in one.figures if figure.system == system]
    facts = {
        "cohort.dataset": one.dataset,
        "scoring.sections": one.section,
        "about.source": "; ".join(dict.fromkeys(figure.source for figure in figures)),
        "about.second hand": any(figure.second_hand for figure in figures),
        "about.note": "; ".join(dict.fromkeys(f.note for f in figures if f.note)) or "none",
        **({} if one.n is None else {"cohort.n": one.n}),
    }
    values = {figure.metric: figure.value for figure in figures if figure.metric is not None}
    return RecordedFacts(f"{system}, {one.name}", facts, values)


def _text(value: Any) -> Any:
    """Write lists and mappings in one line, and "none" for what is recorded as absent."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text(v)}" for k, v in sorted(value.items())) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(str(_text(item)) for item in value) or "none"
    return "none" if value is None else value
