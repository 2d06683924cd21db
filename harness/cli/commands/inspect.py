"""The verbs that show what there is: on this machine, in a file, in a browser."""

from __future__ import annotations

import argparse
import json

from reportcard.cli.commands.output import config_of, say


def list_(arguments: argparse.Namespace) -> int:
    from reportcard.cli.listing import show_list

    return show_list(arguments.what, arguments.json, say)


def doctor(arguments: argparse.Namespace) -> int:
    from reportcard.cli.doctor import report
    from reportcard.cli.tables import doctor_table

    named = any(word.startswith("dataset=") for word in arguments.overrides)
    lines, able = report(config_of(arguments), named, arguments.contact_sheet)
    doctor_table(lines)
    return 0 if able else 2


def sections(arguments: argparse.Namespace) -> int:
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


def dashboard(arguments: argparse.Namespace) -> int:
    from reportcard.publish.mlflow.server import serve

    return serve(config_of(arguments), arguments.port, say)


def serve(arguments: argparse.Namespace) -> int:
    from reportcard.publish.page.http_server import serve

    return serve(config_of(arguments).results_dir, arguments.port, say)
