#!/usr/bin/env python3
"""Refuse tracked files that look like patients' data: `python .ci/scan.py [FILE…]` (all, if none).

Reads their contents, their names and the targets of symbolic links. Runs in pre-commit and in
`make lint`, on the standard library alone. It prints file (without ids), line and rule,
never what stands there, and exits 1. Fixtures pass with reserved ids (tests/fixtures/reserved.py)
and with a canary in every invented report.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

# The ids, offsets and section names that MIT-LCP published under the MIT licence; no text.
PUBLISHED_IDS = "harness/data/sources/data/mimic_special_sections.csv"

# Bare numbers, but no decimal places of another number.
SUBJECT = r"(?<!\d)(?<!\d\.)(?!19999)1\d{7}(?!\d)"
STUDY = r"(?<!\d)(?<!\d\.)(?!59999)5\d{7}(?!\d)"
# Real, except the reserved range behind each (?!…). MIMIC: subjects 1…, studies 5…, five groups of
# eight hexadecimal digits per image; ReXGradient: GRDN and a code.
IDS = {
    "a MIMIC study id": r"(?<![a-z0-9])s(?!59999)5\d{7}(?!\d)",
    "a MIMIC subject id": r"(?<![a-z0-9])p(?!19999)1\d{7}(?!\d)",
    "a MIMIC subject id beside a study id": (
        rf"{SUBJECT}[^\n]{{1,1000}}?{STUDY}|{STUDY}[^\n]{{1,1000}}?{SUBJECT}"
    ),
    "a MIMIC id under its column's name": (
        r"(subject|study)[ _-]?id[\\\"'\]]*\s*[:=,]+\s*[\\\"'\[(]*"
        r"(?!19999|59999)[15]\d{7}(?!\d)"
    ),
    "a MIMIC image id": r"(?<![a-f0-9])(?!0fffffff-)[a-f0-9]{8}(-[a-f0-9]{8}){4}(?![a-f0-9])",
    # 40 digits without dashes are a Git commit as well: refused beside a word for images only.
    "an image id without dashes": (
        r"(?<![a-f0-9])(?!0fffffff)[a-f0-9]{40}(?![a-f0-9])[^\n]{0,1000}?(image|dicom|\.(jpe?g|dcm|png))"
        r"|(image|dicom)[^\n]{0,1000}?(?<![a-f0-9])(?!0fffffff)[a-f0-9]{40}(?![a-f0-9])"
    ),
    "a ReXGradient id": r"GRDN(?!9999)(?=[a-z]*\d)[a-z0-9]{6,}",
}
# A report as MIMIC prints it: the title, then a removed name within its first pages. Between the
# words any space: Unicode's, too, as UTF-8 looks when read as Latin-1, or written out.
TITLE = re.compile(
    r"FINAL(?:\s|\xc2\xa0|\xe2\x80[\x80-\xaf]|&nbsp;|\\u00a0|\\[nrt])+REPORT", re.IGNORECASE
)
PAGES = 4000
CANARY = "CANARY"  # in every invented report
RULES = {rule: re.compile(pattern, re.IGNORECASE) for rule, pattern in IDS.items()}
# Containers, by the end of their names and by their first bytes; none is tracked, so none passes.
CLOSED = (
    *(".gz", ".tgz", ".zip", ".tar", ".zst", ".bz2", ".xz", ".7z", ".dcm", ".pkl", ".parquet"),
    *(".xlsx", ".docx", ".npz", ".npy", ".h5", ".hdf5", ".sqlite", ".db", ".arrow", ".pt"),
)
MAGIC = re.compile(
    rb"PK(\x03\x04|\x05\x06|\x07\x08)|\x1f\x8b|BZh[1-9](1AY&SY|\x17rE8P)|\x28\xb5\x2f\xfd"
    rb"|\xfd7zXZ\0|7z\xbc\xaf\x27\x1c|SQLite format 3\0|\x89HDF\r\n\x1a\n|PAR1|ARROW1|\x93NUMPY"
    rb"|\x80[\x02-\x05]|(?s:.{128})DICM|(?s:.{257})ustar"
)


def findings(name: str, data: bytes) -> Iterator[tuple[int, str]]:
    """(line, rule) for whatever must not be in a tracked file of that name."""
    if name == PUBLISHED_IDS:
        return
    if name.lower().endswith(CLOSED) or MAGIC.match(data):
        yield 1, "a file that cannot be scanned: track it unpacked, or make it in the test"
        return
    text = data.replace(b"\0", b"").decode("latin-1")  # UTF-16, too
    for rule, pattern in RULES.items():
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, rule
    titles = list(TITLE.finditer(text))
    for title, following in zip(titles, [*titles, None][1:], strict=True):
        end = title.end() + PAGES
        body = text[title.end() : min(end, following.start()) if following else end]
        if "___" in body and CANARY not in body:
            yield text.count("\n", 0, title.start()) + 1, "the text of a report"


def ids(name: str) -> list[str]:
    """The rules for ids that a name breaks."""
    return [rule for rule in IDS if RULES[rule].search(name)]


def masked(name: str) -> str:
    """The name as it may be printed."""
    return re.sub(r"(?i)GRDN\w+|[a-f0-9]{8,}", "[id]", name) if ids(name) else name


def main(names: Sequence[str]) -> int:
    if not names:
        listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True)  # noqa: S607
        names = [name for name in os.fsdecode(listed.stdout).split("\0") if name]
    found = 0
    for name in names:
        path = Path(name)
        refused = [f"its name: {rule}" for rule in ids(name)]
        if path.is_symlink():
            refused += [f"its target: {rule}" for rule in ids(str(path.readlink()))]
        elif path.is_file():
            refused += [
                f"{at}: {rule}" for at, rule in findings(path.as_posix(), path.read_bytes())
            ]
        found += len(refused)
        for line in refused:
            print(f"{masked(name)}:{line}", file=sys.stderr)
    if found:
        print(
            f"{found} refused. Nothing of closed data may be committed; fixtures take their ids"
            " from tests/fixtures/reserved.py and say CANARY in every report.",
            file=sys.stderr,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
