"""Agreement with radiologists: invented files in the shapes of ReXVal and RadEvalX."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, ttest_rel

from reportcard.analysis.validation import metric_columns as columns
from reportcard.analysis.validation import validate
from reportcard.analysis.validation.agreement import (
    draw_weights,
    leave_one_out,
    paired_t,
    tau_b,
    tau_with_interval,
)
from reportcard.analysis.validation.radevalx import read_radevalx
from reportcard.analysis.validation.rexval import CANDIDATES, COLUMNS, RATERS, SAMPLES, read_rexval
from reportcard.api import (
    Array,
    Custody,
    DatasetCard,
    Json,
    Key,
    MetricSpec,
    Pair,
    ReportCardError,
)
from reportcard.cli.main import main
from reportcard.config import paths
from reportcard.core.progress import quiet
from reportcard.score.evaluation import with_notes
from reportcard.score.scorer import Scorer
from reportcard.score.stats.resampling import clusters_of

CANARY = "CANARYQUAGGA"
WORDS = ["heart", "normal", "lungs", "clear", "effusion", "left", "small", "nodule", "right"]
N_RATERS = 6


def write_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def rexval_rows(studies: int = 3, first: int = 0) -> list[dict[str, object]]:
    """A whole grid of invented counts."""
    rng = np.random.default_rng(1)
    return [
        {
            "study_number": study + first,
            "candidate_type": candidate,
            "error_category": category,
            "rater_index": rater,
            "clinically_significant": significant,
            "num_errors": int(rng.integers(0, 3)),
        }
        for study in range(studies)
        for candidate in CANDIDATES
        for rater in range(N_RATERS)
        for category in range(1, 7)
        for significant in (True, False)
    ]


def sample_rows(studies: int = 3) -> list[dict[str, object]]:
    """Candidates that share ever fewer words with their reference."""
    return [
        {
            "study_id": f"5{study}",
            "gt_report": f"{CANARY} {' '.join(WORDS[study:])}",
            **{
                name: " ".join(WORDS[study : 5 + study - i]) or "blank"
                for i, name in enumerate(CANDIDATES)
            },
        }
        for study in range(studies)
    ]


def write_rexval(root: Path, rows: Sequence[dict[str, object]] | None = None) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    write_csv(root / SAMPLES, sample_rows())
    write_csv(root / RATERS, rexval_rows() if rows is None else rows)
    return root


def write_radevalx(root: Path) -> Path:
    """The layout as released: two files of consensus counts, mostly blank."""
    root.mkdir()
    for name, cells in (
        ("RadEval_clinically_significant_errors.csv", ["2", "", "1", "", "", "", "", ""]),
        ("RadEval-clinically_insignificant_errors.csv", ["", "", "", "", "", "", "", "3"]),
    ):
        rows: list[dict[str, object]] = [
            {
                "report_id": f"CXR{i}",
                "ground_truth": f"{CANARY} {WORDS[i]}",
                "M2Tr-Generation": " ".join(WORDS[i : i + 3]),
                **{str(c + 1): cell if i else "" for c, cell in enumerate(cells)},
            }
            for i in range(3)
        ]
        write_csv(root / name, rows)
    write_csv(root / "metrcis_scores_m2tr.csv", [{"report_id": "CXR0", "bleu4": "0.1"}])
    return root


# Statistics


def test_tau_b_equals_scipy_on_the_data_and_on_every_resample() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 40).astype(float), rng.integers(0, 4, 40).astype(float)
    studies = [str(i // 4) for i in range(40)]
    weights = draw_weights(40, 25, 0, clusters_of(studies))
    for found, w in zip(tau_b(x, y, weights), weights, strict=True):
        assert (w.reshape(10, 4) == w.reshape(10, 4)[:, :1]).all()  # studies are drawn whole
        picked = np.repeat(np.arange(40), w.astype(int))
        assert found == pytest.approx(kendalltau(x[picked], y[picked]).statistic, abs=1e-12)


def test_tau_b_by_hand() -> None:
    # pairs: (1,2)+ (1,3)+ (2,3) tied in y → 2 / sqrt(3 · 2)
    found = tau_b(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 1.0]), np.ones((1, 3)))
    assert found[0] == pytest.approx(2 / np.sqrt(6))
    assert np.isnan(tau_b(np.ones(3), np.arange(3.0), np.ones((1, 3)))[0])


def test_intervals_are_drawn_by_study_and_so_wider() -> None:
    """Four candidates of a study that agree or disagree together are one piece of evidence."""
    rng = np.random.default_rng(3)
    level = np.repeat(rng.normal(size=12), 4)
    bias = np.repeat(rng.normal(size=12), 4)
    metric, errors = level + 0.01 * rng.normal(size=48), level + bias
    by_study = draw_weights(48, 500, 0, clusters_of([str(i // 4) for i in range(48)]))
    by_pair = draw_weights(48, 500, 0, None)
    wide, narrow = (tau_with_interval(metric, errors, w) for w in (by_study, by_pair))
    assert wide.value == narrow.value
    assert wide.high - wide.low > 1.4 * (narrow.high - narrow.low)


def test_unscored_pairs_weigh_nothing() -> None:
    values, errors = np.array([1.0, np.nan, 2.0, 3.0]), np.array([1.0, 9.0, 2.0, 0.0])
    found = tau_with_interval(values, errors, draw_weights(4, 50, 0, None))
    assert found.value == pytest.approx(kendalltau([1, 2, 3], [1, 2, 0]).statistic)


def test_leave_one_out_by_hand() -> None:
    errors = np.array([[0.0, 2.0, 4.0], [1.0, 1.0, 1.0]])
    judge = np.array([3.0, 0.0])
    left = leave_one_out(errors, ("a", "b", "c"), draw_weights(2, 10, 0, None), judge)
    # others of a: 3, 1; of b: 2, 1; of c: 1, 1
    assert [one.mad[0] for one in left] == [1.5, 0.0, 1.5]
    assert [one.judge.mad[0] for one in left if one.judge is not None] == [0.5, 1.0, 1.5]


def test_p_is_the_paired_t_test_of_the_absolute_differences() -> None:
    rng = np.random.default_rng(5)
    errors, judge = rng.integers(0, 5, (30, 4)).astype(float), rng.normal(2, 1, 30)
    judge[3] = np.nan
    left = leave_one_out(errors, tuple("abcd"), draw_weights(30, 10, 0, None), judge)
    kept = ~np.isnan(judge)
    others = errors[kept][:, 1:].mean(axis=1)
    own, theirs = np.abs(errors[kept, 0] - others), np.abs(judge[kept] - others)
    assert left[0].judge is not None
    assert left[0].judge.p == pytest.approx(ttest_rel(theirs, own).pvalue)
    assert left[0].mad[0] == pytest.approx(own.mean())
    assert left[0].judge.tau[0] == pytest.approx(kendalltau(judge[kept], others).statistic)
    assert paired_t(own, own) is None


# ReXVal


def test_rexval_is_summed_over_categories_per_rater(tmp_path: Path) -> None:
    rows = rexval_rows()
    found = read_rexval(write_rexval(tmp_path, rows))
    assert found.ids[:5] == ("0/radgraph", "0/bertscore", "0/s_emb", "0/bleu", "1/radgraph")
    assert found.raters == ("0", "1", "2", "3", "4", "5")
    assert found.card.data_class == "credentialed"
    own = [
        r
        for r in rows
        if (r["study_number"], r["candidate_type"], r["rater_index"]) == (1, "s_emb", 4)
    ]
    pair = found.ids.index("1/s_emb")
    assert found.total[pair, 4] == sum(int(str(r["num_errors"])) for r in own)
    assert found.significant[pair, 4] == sum(
        int(str(r["num_errors"])) for r in own if r["clinically_significant"]
    )
    assert found.texts[pair].candidate == sample_rows()[1]["s_emb"]


def test_rexval_from_one_with_0_and_1_and_columns_in_another_order(tmp_path: Path) -> None:
    plain = read_rexval(write_rexval(tmp_path / "a"))
    rows = [
        {name: row[name] for name in reversed(COLUMNS)}
        | {"clinically_significant": int(bool(row["clinically_significant"]))}
        for row in rexval_rows(first=1)
    ]
    shifted = read_rexval(write_rexval(tmp_path / "b", rows[::-1]))
    assert (shifted.total == plain.total).all()
    assert (shifted.significant == plain.significant).all()
    assert "count from 0" in plain.notes[0]
    assert "count from 1" in shifted.notes[0]


def test_a_pair_without_all_of_a_raters_counts_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        row
        for row in rexval_rows()
        if (row["study_number"], row["candidate_type"], row["rater_index"]) != (1, "bleu", 2)
    ]
    found = read_rexval(write_rexval(tmp_path, rows))
    assert "1/bleu" not in found.ids
    assert len(found.ids) == 11
    assert "1 pairs left out" in found.notes[-1]
    assert "pair 1/bleu, rater 2" in found.notes[-1]


Break = Callable[[list[dict[str, object]]], object]


@pytest.mark.parametrize(
    ("break_", "says"),
    [
        (lambda rows: rows.append(rows[0]), f"{RATERS}:866: pair 0/radgraph, rater 0, category 1"),
        (lambda rows: rows[4].update(num_errors=""), f"{RATERS}:6: 'num_errors' must be"),
        (lambda rows: rows[4].update(num_errors="-1"), "whole number"),
        (lambda rows: rows[4].update(num_errors="1.5"), "whole number"),
        (lambda rows: rows[4].update(num_errors=CANARY), "whole number"),
        (lambda rows: rows[4].update(num_errors="inf"), "whole number"),
        (lambda rows: rows[4].update(candidate_type=CANARY), f"{RATERS}:6: unknown candidate_type"),
        (lambda rows: rows[4].update(clinically_significant="maybe"), "clinically_significant"),
        (lambda rows: rows[4].update(error_category=7), "error_category must be 1 to 6"),
        (lambda rows: rows[4].update(study_number=9), "study_number must be 0 to 2"),
        (lambda rows: [r.update(study_number=3) for r in rows[-5:]], "from 0 or from 1"),
        (lambda rows: [r.pop("rater_index") for r in rows], "no column rater_index"),
        (lambda rows: [r.update(error_category=1) for r in rows], "was already counted"),
        (lambda rows: rows.__delitem__(slice(20, None)), "no pair has a count"),
    ],
)
def test_a_malformed_rexval_says_where(break_: Break, says: str, tmp_path: Path) -> None:
    rows = rexval_rows()
    break_(rows)
    with pytest.raises(ReportCardError) as error:
        read_rexval(write_rexval(tmp_path, rows))
    assert says in str(error.value)
    assert CANARY not in str(error.value)


def test_a_missing_file_or_candidate_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportCardError, match=SAMPLES):
        read_rexval(tmp_path)
    write_rexval(tmp_path)
    write_csv(tmp_path / SAMPLES, [{"study_id": 1, "gt_report": CANARY, "bleu": "x"}])
    with pytest.raises(ReportCardError, match="no column radgraph, bertscore, s_emb"):
        read_rexval(tmp_path)


# RadEvalX


def test_radevalx_as_released_is_a_consensus_with_blanks_as_zero(tmp_path: Path) -> None:
    found = read_radevalx(write_radevalx(tmp_path / "x"))
    assert found.card.data_class == "open"
    assert found.consensus
    assert found.ids == ("CXR0", "CXR1", "CXR2")
    assert found.significant[:, 0].tolist() == [0, 3, 3]
    assert found.total[:, 0].tolist() == [0, 6, 6]
    assert found.notes == ("42 of 48 cells are blank and count as 0 (an assumption)",)
    result = validate(found, ["rouge"]).to_json()
    assert result["leave_one_out"] == {}


def long_rows(add: int = 0, **more: object) -> list[dict[str, object]]:
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight")
    return [
        {"report_id": pair, "error_type": kind, **dict.fromkeys(words, i + add), **more}
        for i, pair in enumerate(("p", "q", "r"))
        for kind in ("significant", "insignificant")
    ]


def write_pairs(root: Path) -> None:
    rows = [{"report_id": p, "reference": CANARY, "candidate": f"word {p}"} for p in "pqr"]
    write_csv(root / "pairs.csv", rows)


def test_radevalx_long_with_a_file_or_a_column_per_rater(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    write_csv(tmp_path / "anna.csv", long_rows())
    write_csv(tmp_path / "ben.csv", long_rows(1))
    files = read_radevalx(tmp_path)
    assert files.raters == ("ben", "anna")
    assert files.total.tolist() == [[16, 0], [32, 16], [48, 32]]
    (tmp_path / "ben.csv").unlink()
    write_csv(tmp_path / "anna.csv", [*long_rows(rater="1"), *long_rows(1, rater="2")])
    column = read_radevalx(tmp_path)
    assert column.raters == ("1", "2")
    assert column.significant.tolist() == [[0, 8], [8, 16], [16, 24]]


def test_a_folder_of_other_files_says_what_is_needed(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    with pytest.raises(ReportCardError, match=r"holds pairs\.csv; needed: .*report_id"):
        read_radevalx(tmp_path)
    write_csv(tmp_path / "counts.csv", long_rows())
    (tmp_path / "pairs.csv").unlink()
    with pytest.raises(ReportCardError, match="3 rated reports have no texts"):
        read_radevalx(tmp_path)


def test_one_released_file_is_not_enough(tmp_path: Path) -> None:
    root = write_radevalx(tmp_path / "x")
    (root / "RadEval-clinically_insignificant_errors.csv").unlink()
    with pytest.raises(ReportCardError, match="one of insignificant errors"):
        read_radevalx(root)


# The whole


class Counter:
    """A perfect judge: it is given the raters' mean and reads nothing."""

    def __init__(self, total: Array, significant: Array) -> None:
        lower = Key("lower", 0, None, "errors per report")
        keys = {"mean_significant": lower, "mean_total": lower}
        self.spec = MetricSpec("1", keys, "told", headline=("mean_significant", "mean_total"))
        self._rows = np.column_stack([significant, total, np.ones(len(total))])

    def rows(self, pairs: Sequence[Pair]) -> Array:
        return self._rows

    def scores(self, total: Array) -> dict[str, Array]:
        return {k: total[..., i] / total[..., -1] for i, k in enumerate(self.spec.keys)}


def test_a_perfect_judge_agrees_and_beats_every_rater(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratings = read_rexval(write_rexval(tmp_path))
    counter = Counter(ratings.total.mean(axis=1), ratings.significant.mean(axis=1))
    monkeypatch.setattr(
        "reportcard.analysis.validation.open_metrics", lambda *_: [Scorer("told", counter, "f")]
    )
    result = validate(ratings, ["rouge"]).to_json()
    assert result["metrics"]["told.mean_total"]["tau"]["total"]["value"] == pytest.approx(1)
    total = result["leave_one_out"]["total"]
    assert set(total["judges"]) == {"told.mean_total"}
    judge = total["judges"]["told.mean_total"]
    for line in judge["per_rater"]:
        # m − mean of the others = (e − mean of the others) / 6
        assert line["judge_mad"]["value"] == pytest.approx(line["mad"]["value"] / N_RATERS)
        assert line["judge_minus_rater"]["ci_high"] < 0
        assert line["differs"]
    assert judge["mean"]["mad"] == total["raters"]["mean"]["mad"]


def test_a_judge_that_may_not_see_the_text_costs_its_metric_only(tmp_path: Path) -> None:
    class Refused:
        id, version, scope, weights, caveat = "refused", "1", "pair", None, None

        def missing(self) -> None:
            return None

        def admit(self, custody: Custody) -> None:
            if custody.data.data_class != "open":
                raise ReportCardError(f"{custody.data.dua_id} is not listed.")

        def annotate(self, items: Sequence[object]) -> list[Json | None]:
            raise AssertionError("text was given to a judge that refused it")

        def close(self) -> None:
            pass

    ratings = read_rexval(write_rexval(tmp_path))
    pairs = [Pair("a", "x", "y")]
    counter = Counter(np.ones(1), np.ones(1))
    scorer = Scorer("told", counter, "f", (Refused(),))
    custody = Custody(ratings.card, tmp_path / "cache", quiet, print)
    found, not_run = columns.columns_of([scorer], pairs, custody)
    assert found == []
    assert not_run == {"told": "physionet-rexval is not listed."}
    open_data = Custody(DatasetCard("x", "open"), tmp_path / "cache", quiet, print)
    with pytest.raises(AssertionError):
        with_notes(scorer, pairs, open_data)


def test_the_command_prints_and_writes_agreement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = write_rexval(tmp_path / "rexval"), tmp_path / "out.json"
    command = ["validate", "rexval", "--root", str(root), "--metrics", "bleu,rouge"]
    assert main([*command, "--json", str(out)]) == 0
    shown = capsys.readouterr()
    result = json.loads(out.read_text())
    assert list(result["metrics"]) == ["bleu.bleu_4", "rouge.rouge_l"]
    rouge = result["metrics"]["rouge.rouge_l"]
    assert rouge["n"] == 12
    assert rouge["tau"]["total"]["published"] == "≤ 0.57"
    assert "by=study" in result["recipe"]
    ratings = read_rexval(root)
    values = [validate_rouge(text.candidate, text.reference) for text in ratings.texts]
    expected = -kendalltau(values, ratings.total.mean(axis=1)).statistic
    assert rouge["tau"]["total"]["value"] == pytest.approx(expected)
    assert "rouge.rouge_l" in shown.out
    assert "published mean MAD 0.71" in shown.out
    assert CANARY not in shown.out + shown.err + out.read_text()


def validate_rouge(candidate: str, reference: str) -> float:
    """ROUGE-L F of two texts of unlike words in one order, by hand."""
    a, b = candidate.lower().split(), reference.lower().split()
    common = len([word for word in a if word in b])
    return 2 * common / (len(a) + len(b))


def test_metrics_that_cannot_run_are_listed_with_the_reason(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path / "cache"))
    root = write_radevalx(tmp_path / "x")
    command = ["validate", "radevalx", "--root", str(root), "--metrics", "radcliq"]
    assert main(command) == 2
    shown = capsys.readouterr().out
    assert "not run: radcliq:" in shown
    assert "a consensus" in shown


def test_overrides_are_about_judges_and_weights_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(write_rexval(tmp_path))
    assert main(["validate", "rexval", "--root", root, "model=empty_report"]) == 2
    assert "validate takes weights" in capsys.readouterr().err


def recorded_line(candidate: str, reference: str, significant: int, insignificant: int) -> str:
    parts = {"significant": significant, "insignificant": insignificant}
    counts = {part: {**dict.fromkeys("ABCDEF", 0), "B": n} for part, n in parts.items()}
    texts = {"reference": reference, "candidate": candidate}
    return json.dumps({"kind": "chexprompt", **texts, **counts}) + "\n"


def test_a_recorded_judge_stands_beside_the_raters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        "reportcard.llm.judge.cache", reason="the recorded judge is not merged here"
    )
    if "chexprompt" not in paths.names("metrics"):
        pytest.skip("CheXprompt is not merged here")
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path / "cache"))
    root, out = write_rexval(tmp_path / "rexval"), tmp_path / "out.json"
    ratings = read_rexval(root)
    judged = {pair: 2 * i for i, pair in enumerate(ratings.ids) if i}  # the first pair has none
    verdicts = tmp_path / "v.jsonl"
    verdicts.write_text(
        "".join(
            recorded_line(text.candidate, text.reference, judged[pair] // 2, judged[pair] // 2)
            for pair, text in zip(ratings.ids, ratings.texts, strict=True)
            if pair in judged
        )
    )
    command = ["validate", "rexval", "--root", str(root), "--metrics", "chexprompt"]
    command += ["--json", str(out), "judge=recorded", f"judge.verdicts={verdicts}"]
    assert main(command) == 0
    result = json.loads(out.read_text())
    total = result["metrics"]["chexprompt.mean_total"]
    assert (total["n"], total["unscored"]) == (11, 1)
    assert list(total["reasons"]) == [ratings.ids[0]]
    expected = kendalltau(list(judged.values()), ratings.total[1:].mean(axis=1)).statistic
    assert total["tau"]["total"]["value"] == pytest.approx(expected)
    judge = result["leave_one_out"]["total"]["judges"]["chexprompt.mean_total"]
    others = ratings.total[1:, 1:].mean(axis=1)
    mad = np.abs(np.array(list(judged.values())) - others).mean()
    assert judge["per_rater"][0]["judge_mad"]["value"] == pytest.approx(mad)
    shown = capsys.readouterr()
    assert "chexprompt.mean_total against the same others, 11 pairs" in shown.out
    assert CANARY not in shown.out + shown.err + out.read_text()
