"""Floors and a ceiling for the scores: a system below the floors has learnt nothing from images.

Fitted baselines see only the cohort's train part. The two that see the test references declare it
in their card (`sees_references`) and are marked on the leaderboard.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from reportcard.api import ModelCard, Prediction, Report, ReportCardError, Request, Study

# Our own sentence of a normal frontal and lateral study.
NORMAL = (
    "The heart is normal in size. The mediastinal contours are within normal limits."
    " The lungs are clear. There is no pleural effusion or pneumothorax."
    " No acute bony abnormality."
)


def _answer(request: Request, report: Report, used: tuple[str, ...] = ()) -> Prediction:
    text = report.text()
    status: Literal["ok", "empty"] = "ok" if text.strip() else "empty"
    return Prediction(
        request.study_id, report, raw=text, status=status, used=used, draw=request.draw
    )


class EmptyReport:
    """Floor: an empty report for every study."""

    card = ModelCard("Always an empty report", kind="floor")

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        return [_answer(request, Report(findings="")) for request in requests]


class FixedNormalReport:
    """Floor: the same report of a normal study for every study."""

    card = ModelCard("Always the same normal report", kind="floor")

    def __init__(self, text: str | None = None) -> None:
        self.report = Report(findings=NORMAL if text is None else text)

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        return [_answer(request, self.report) for request in requests]


class MostFrequentReport:
    """Floor: the most frequent train report; of equally frequent ones the first in sort order."""

    card = ModelCard("Always the modal train report", kind="floor", needs_train=True)

    def fit(self, train: Sequence[Study]) -> None:
        counts = Counter(study.reference.text() for study in train)
        text, _ = min(counts.items(), key=lambda item: (-item[1], item[0]))
        self.report = Report(findings=text)

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        return [_answer(request, self.report) for request in requests]


class RandomTrainReport:
    """Floor: a random train report for each study, `draws` times.

    The choice depends only on seed, draw and study id, so batches and order do not matter.
    """

    def __init__(self, draws: int = 20, seed: int = 0) -> None:
        if not isinstance(draws, int) or draws < 1:
            raise ReportCardError(f"random_train_report: draws must be 1 or more, not {draws}.")
        self.card = ModelCard(
            "A train report at random, mean of several draws",
            kind="floor",
            needs_train=True,
            draws=draws,
        )
        self.seed = seed

    def fit(self, train: Sequence[Study]) -> None:
        self.reports = [study.reference for study in train]

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        return [_answer(request, self.reports[self._index(request)]) for request in requests]

    def _index(self, request: Request) -> int:
        key = f"{self.seed}/{request.draw}/{request.study_id}".encode()
        return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % len(self.reports)


class ReferenceOracle:
    """Ceiling: the reference itself; its score is the metric's real maximum."""

    card = ModelCard("The reference report itself", kind="ceiling", sees_references=True)

    def see_references(self, test: Sequence[Study]) -> None:
        self.reports = {study.study_id: study.reference for study in test}

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        return [_answer(request, self.reports[request.study_id]) for request in requests]


class ShuffledReference:
    """Floor: another study's reference; the style and case mix are right, the patient is wrong."""

    card = ModelCard("The reference report of another study", kind="floor", sees_references=True)

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def see_references(self, test: Sequence[Study]) -> None:
        if len(test) < 2:
            raise ReportCardError("shuffled_reference needs at least two studies.")
        # One cycle through all studies in a seeded order, so that no study gets its own report.
        order = sorted(
            test,
            key=lambda s: hashlib.sha256(f"{self.seed}/{s.study_id}".encode()).digest(),
        )
        following = [*order[1:], order[0]]
        self.reports = {
            mine.study_id: other.reference for mine, other in zip(order, following, strict=True)
        }

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        return [_answer(request, self.reports[request.study_id]) for request in requests]


class IndicationRetrieval:
    """Floor without pixels: the train report with the most similar indication (TF-IDF cosine).

    A study without an indication gets the most frequent train report. Of equally similar
    indications the first train study wins.
    """

    card = ModelCard(
        "Train report with the nearest indication (TF-IDF)",
        kind="floor",
        inputs=("indication",),
        needs_train=True,
    )

    def fit(self, train: Sequence[Study]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._fallback = MostFrequentReport()
        self._fallback.fit(train)
        known = [study for study in train if (study.request.indication or "").strip()]
        self._reports = [study.reference for study in known]
        self._matrix: Any = None
        if known:
            self._vectorizer = TfidfVectorizer(sublinear_tf=True)
            texts = [study.request.indication for study in known]
            self._matrix = self._vectorizer.fit_transform(texts)

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        answers = self._fallback.generate(requests)
        asked = [i for i, r in enumerate(requests) if (r.indication or "").strip()]
        if self._matrix is None or not asked:
            return answers
        queries = self._vectorizer.transform([requests[i].indication for i in asked])
        similarity = (queries @ self._matrix.T).toarray()
        for row, i in enumerate(asked):
            best = int(similarity[row].argmax())
            if similarity[row, best] > 0:
                answers[i] = _answer(requests[i], self._reports[best], used=("indication",))
            else:  # no word in common with any train indication
                answers[i] = replace(answers[i], used=("indication",))
        return answers
