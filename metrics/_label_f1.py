"""Computes F1 over the 14 CheXpert observations from additive counts, for any labeler.

`LabelF1` is the base class of F1-CheXbert and of F1 by the rules labeler. Import it from
`reportcard.metrics` to score the labels of a labeler of your own.

A labeling annotator's note is {"labels": [14 codes]}, in the order of LABELS, with codes 0 blank,
1 positive, 2 negative, 3 uncertain. One of two policies makes a code present or absent:

    neg   positive is present; uncertain is absent (LLaVA-Rad's unsuffixed scores, MAIRA-2)
    pos   positive and uncertain are present (f1chexbert 0.0.2 "rrg", RadEval, LLaVA-Rad "+")

Per class l, with tp, fp, fn, tn over studies:

    precision = tp / (tp + fp)              recall (sensitivity) = tp / (tp + fn)
    F1 = 2 tp / (2 tp + fp + fn)            specificity = tn / (tn + fp)

    micro     F1 of the pooled counts
    macro     unweighted mean of F1 over the classes; a class that no report has counts 0
    macro over supported classes   the same over the classes with tp + fn >= 10 in the sample that
              is scored. The classes are chosen once, by the references alone, and not again in a
              resample. A perfect copy scores 1, and the interval holds what it promises
              (docs/statistics.md has the coverage of both)
    weighted  mean of F1 weighted by support, tp + fn
    samples   mean over studies of 2 |C ∩ R| / (|C| + |R|); a study empty on both sides gives 0
    exact     share of studies on which all labels agree

A ratio with denominator 0 is 0, as scikit-learn's zero_division=0. `_14` is all observations, No
Finding among them; `_5` is Cardiomegaly, Edema, Consolidation, Atelectasis and Pleural Effusion.
f1chexbert's "accuracy" is exact_match_5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from reportcard.api import Array, Json, Key, MetricSpec, Pair, ReportCardError

LABELS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "No Finding",
)
FIVE = (1, 4, 5, 7, 9)  # CheXpert's competition tasks, in the order of LABELS
BLANK, POSITIVE, NEGATIVE, UNCERTAIN = range(4)
POLICIES = {"neg": (POSITIVE,), "pos": (POSITIVE, UNCERTAIN)}


def snake(label: str) -> str:
    """Return the label as it appears in keys.

    >>> snake("Pleural Effusion")
    'pleural_effusion'
    """
    return re.sub(r"[^a-z0-9]+", "_", label.lower())


CLASSES = tuple(snake(label) for label in LABELS)
_N = len(LABELS)
SUPPORT_FLOOR = 10  # studies; below, the F1 of a class has no interval to rely on
_SUBSETS = (("14", tuple(range(_N))), ("5", FIVE))
_COLUMNS = 4 * _N + 2 * len(_SUBSETS) + 1


def present(labels: npt.ArrayLike, uncertain: str = "neg") -> npt.NDArray[np.bool_]:
    """Return whether observations count as present; codes may have any shape."""
    return np.isin(np.asarray(labels), POLICIES[uncertain])


def counts(candidate: npt.NDArray[np.bool_], reference: npt.NDArray[np.bool_]) -> Array:
    """Turn present/absent of both reports, each (n, 14), into rows (n, 61).

    Columns: tp, fp, fn and tn of the 14 classes; F1 of the study over 14 and over 5 labels;
    exact match of 14 and of 5; and a 1.
    """
    c, r = candidate, reference
    cells = [c & r, c & ~r, ~c & r, ~c & ~r]
    f1, exact = [], []
    for _, classes in _SUBSETS:
        a, b = c[:, classes], r[:, classes]
        f1.append(ratio(2.0 * (a & b).sum(1), (a.sum(1) + b.sum(1)).astype(np.float64)))
        exact.append((a == b).all(1))
    return np.column_stack([*cells, *f1, *exact, np.ones(len(c))]).astype(np.float64)


def ratio(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator, and 0 where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.zeros(shape), where=denominator > 0)


def label_scores(total: Array, supported: npt.NDArray[np.bool_] | None = None) -> dict[str, Array]:
    """Summed rows of `counts` (..., 61) → every key, shape (...).

    supported: the classes (14,) of the macro average over supported classes; None: those that
    have enough studies in each total itself.
    """
    tp, fp, fn, tn = (total[..., i * _N : (i + 1) * _N] for i in range(4))
    f1 = ratio(2 * tp, 2 * tp + fp + fn)
    support = tp + fn
    n = total[..., -1]
    chosen = support >= SUPPORT_FLOOR if supported is None else np.broadcast_to(supported, f1.shape)
    found: dict[str, Array] = {}
    for i, (name, classes) in enumerate(_SUBSETS):
        part = list(classes)
        pooled = tp[..., part].sum(-1)
        wrong = (fp + fn)[..., part].sum(-1)
        found[f"micro_f1_{name}"] = ratio(2 * pooled, 2 * pooled + wrong)
        found[f"macro_f1_{name}"] = f1[..., part].mean(-1)
        found[f"macro_f1_supported_{name}"] = _mean(
            (f1 * chosen)[..., part].sum(-1), chosen[..., part].sum(-1).astype(np.float64)
        )
        weighted = (f1 * support)[..., part].sum(-1)
        found[f"weighted_f1_{name}"] = ratio(weighted, support[..., part].sum(-1))
        found[f"samples_f1_{name}"] = _mean(total[..., 4 * _N + i], n)
        found[f"exact_match_{name}"] = _mean(total[..., 4 * _N + len(_SUBSETS) + i], n)
    per_class = {
        "f1": f1,
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, support),
        "specificity": ratio(tn, tn + fp),
        "support": support,
    }
    for i, label in enumerate(CLASSES):
        found |= {f"{label}.{key}": values[..., i] for key, values in per_class.items()}
    # Without a study every score is unknown; a 0 would say that the labels disagree.
    return {key: np.where(n > 0, values, np.nan) for key, values in found.items()}


def _mean(total: Array, n: Array) -> Array:
    """A mean that is NaN, and not 0, where there is no study."""
    return np.divide(total, n, out=np.full_like(n, np.nan), where=n > 0)


def _keys() -> dict[str, Key]:
    support = Key(high=None, unit="studies")
    names = label_scores(np.zeros(_COLUMNS))
    return {name: support if name.endswith(".support") else Key() for name in names}


class LabelF1:
    """Agreement of the labels in an annotator's notes under one policy; metrics extend it.

    Args:
        annotator: the id of the annotator whose notes hold the labels.
        uncertain: "neg" or "pos", how an uncertain label counts.
        version: goes up whenever a score would change.
    """

    def __init__(self, annotator: str, uncertain: str = "neg", version: str = "2") -> None:
        if uncertain not in POLICIES:
            raise ReportCardError(
                f"There is no uncertain policy '{uncertain}'; {', '.join(POLICIES)}."
            )
        self.annotator = annotator
        self.uncertain = uncertain
        self.spec = MetricSpec(
            version=version,
            keys=_keys(),
            # Macro is shown beside micro, and No Finding beside both: one average alone misleads.
            # A model that writes only normal reports had a 14-class micro-F1 of 0.52 (UniRG-CXR,
            # eval-kit/EVAL_REPORT.md, section 4). Each is 1 for a copy of the reference.
            headline=("macro_f1_supported_14", "micro_f1_14", "no_finding.f1", "micro_f1_5"),
            signature=f"{annotator}|uncertain:{uncertain}|zero_division:0"
            f"|supported:reference>={SUPPORT_FLOOR}",
            annotators=(annotator,),
            group="clinical",
        )

    def rows(self, pairs: Sequence[Pair]) -> Array:
        """Return tp, fp, fn, tn per class and the terms of the means; NaN for unlabelled texts."""
        found = np.full((len(pairs), _COLUMNS), np.nan)
        notes = [pair.notes.get(self.annotator, (None, None)) for pair in pairs]
        scored = [i for i, (c, r) in enumerate(notes) if c is not None and r is not None]
        if scored:
            sides = [
                present(_codes([notes[i][side] for i in scored]), self.uncertain) for side in (0, 1)
            ]
            found[scored] = counts(*sides)
        return found

    def scores(self, total: Array) -> dict[str, Array]:
        """Compute every key from summed rows (..., 61)."""
        return label_scores(total)

    def scores_of_sample(self, total: Array) -> Callable[[Array], dict[str, Array]]:
        """Fix the classes with enough studies in this sample for its resamples."""
        supported = _support(total) >= SUPPORT_FLOOR
        return lambda totals: label_scores(totals, supported)

    def doubts(self, total: Array) -> dict[str, str]:
        """Name the keys that rest on classes with few studies."""
        few = _support(total) < SUPPORT_FLOOR
        found: dict[str, str] = {}
        for name, classes in _SUBSETS:
            rare = int(few[list(classes)].sum())
            if rare:
                reason = f"{rare} of its {len(classes)} classes have under {SUPPORT_FLOOR} studies"
                found |= {f"{kind}_f1_{name}": reason for kind in ("macro", "weighted")}
            if rare == len(classes):
                found |= {f"micro_f1_{name}": reason, f"macro_f1_supported_{name}": reason}
        for label, rare_class, support in zip(CLASSES, few, _support(total), strict=True):
            if rare_class:
                reason = f"{support:.0f} studies have this finding, under {SUPPORT_FLOOR}"
                found |= {f"{label}.{key}": reason for key in ("f1", "precision", "recall")}
        return found


def _support(total: Array) -> Array:
    """tp + fn of each class: (..., 61) → (..., 14)."""
    return total[..., :_N] + total[..., 2 * _N : 3 * _N]


def _codes(notes: Sequence[Json | None]) -> npt.NDArray[np.int64]:
    table = np.array([note["labels"] for note in notes if note is not None], np.int64)
    if table.shape != (len(notes), _N) or table.min() < BLANK or table.max() > UNCERTAIN:
        raise ReportCardError(f"A label note must hold {_N} codes 0..3; shape {table.shape}.")
    return table
