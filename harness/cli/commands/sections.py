"""Split reports into sections as the MIMIC-CXR parser does.

Same sections and offsets as the official parser of MIT-LCP/mimic-cxr.

Example:
  reportcard sections s59999001.txt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reportcard.cli.arguments import add_json_flag
from reportcard.cli.output import say

GROUP = "Look around"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="a report in plain text"
    )
    parser.add_argument(
        "--parser", choices=["2.0", "2.1"], default="2.1", help="its version (default: 2.1)"
    )
    add_json_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.data.sources.report_sections import read_sections

    rows = read_sections(arguments.files, arguments.parser)
    if arguments.json:
        say(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    for row in rows:
        say(row["file"])
        for part in row["sections"]:
            say(f"  {part['start']:>6}  {part['name']:<16}  {len(part['text'].split())} words")
    return 0
