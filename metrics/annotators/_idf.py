"""Defines the corpus of BERTScore's inverse document frequency, which always has a name.

idf(t) = log((D + 1) / (df(t) + 1)). Computed on the single reference of a pair it is log(2/2) = 0
for every token. Then F is 0, the rescaled BERTScore of two identical reports is −5.55, and
RadCliQ-v1 of an identical pair is 9.37 instead of −1.44; such values have been published (RadEval
docs/trl_rewards_benchmarks.md). So a corpus is given by name, has at least two documents, and is
never made from the pairs that are scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.core.files import digest


@dataclass(frozen=True)
class IdfCorpus:
    """Reference texts with a name. Raises ReportCardError for fewer than two different texts."""

    name: str
    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ReportCardError(f"An IDF corpus needs a name of letters, not '{self.name}'.")
        if isinstance(self.texts, str) or len({t.strip() for t in self.texts} - {""}) < 2:
            raise ReportCardError(
                f"IDF corpus {self.name}: IDF needs at least two different references; with one,"
                " every token weighs log(2/2) = 0."
            )

    @property
    def fingerprint(self) -> str:
        """Return name and digest, which are part of the annotator's version."""
        return f"{self.name}@{digest(list(self.texts))[:16]}"

    @classmethod
    def load(cls, source: Mapping[str, str] | None) -> IdfCorpus | None:
        """Read a corpus from {"name": …, "path": a file of one text a line} of a YAML file."""
        if source is None:
            return None
        if set(source) != {"name", "path"}:
            raise ReportCardError("idf_corpus takes a name and a path of one text a line.")
        path = Path(source["path"]).expanduser()
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ReportCardError(f"idf_corpus {path}: {error}") from None
        return cls(source["name"], tuple(line for line in lines if line.strip()))
