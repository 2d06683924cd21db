"""Inverse document frequency for BERTScore, from a named corpus and from nothing else.

idf(t) = log((D + 1) / (df(t) + 1)). Computed on the one reference of a pair it is log(2/2) = 0 for
every token, F becomes 0, and a rescaled BERTScore of two identical reports becomes −5.55;
RadCliQ-v1 of an identical pair then reads 9.37 instead of −1.44, and such values are in print
(RadEval docs/trl_rewards_benchmarks.md). So a corpus is given by name, has at least two documents,
and no function takes it from the pairs that are being scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.core.files import digest


@dataclass(frozen=True)
class IdfCorpus:
    """Reference texts under a name. Raises ReportCardError for fewer than two different ones."""

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
        """Name and digest: part of the annotator's version, so of every note's key."""
        return f"{self.name}@{digest(list(self.texts))[:16]}"

    @classmethod
    def load(cls, source: Mapping[str, str] | None) -> IdfCorpus | None:
        """From {"name": …, "path": a file of one text a line}, as a YAML file gives it."""
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
