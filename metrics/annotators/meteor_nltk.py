"""Computes METEOR of a pair as NLTK and Hugging Face `evaluate` do; a note is {"meteor"}.

Words of `word_tokenize` in lower case are matched exactly, by Porter stem and by WordNet synonym;
alpha 0.9, beta 3, gamma 0.5. The values cannot be compared with METEOR of meteor-1.5.jar. This is
an annotator because WordNet may be absent (then the metric is not run, and the reason is shown) and
because it is slow enough to be worth caching.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from reportcard.api import Json

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5  # Hugging Face evaluate metrics/meteor/meteor.py
DATA = {"wordnet": "corpora/wordnet", "punkt_tab": "tokenizers/punkt_tab"}


class MeteorNltkAnnotator:
    """Computes NLTK's METEOR; WordNet is loaded at the first pair."""

    id = "meteor_nltk"
    scope: Literal["pair"] = "pair"
    weights = None

    @property
    def version(self) -> str:
        import nltk

        return f"1|nltk:{nltk.__version__}"

    def missing(self) -> str | None:
        import nltk

        for name, place in DATA.items():
            # NLTK reads a corpus from its zip file, which is what its downloader leaves.
            for path in (place, f"{place}.zip"):
                try:
                    nltk.data.find(path)
                    break
                except LookupError:
                    continue
            else:
                return f"NLTK's {name} missing, run: python -m nltk.downloader {' '.join(DATA)}"
        return None

    def annotate(self, items: Sequence[tuple[str, str]]) -> list[Json | None]:
        from nltk import word_tokenize
        from nltk.translate.meteor_score import single_meteor_score

        return [
            {
                "meteor": float(
                    single_meteor_score(
                        word_tokenize(reference),
                        word_tokenize(candidate),
                        alpha=ALPHA,
                        beta=BETA,
                        gamma=GAMMA,
                    )
                )
                if candidate.strip() and reference.strip()
                else 0.0
            }
            for candidate, reference in items
        ]

    def close(self) -> None:
        """Do nothing: WordNet is read from its files."""
