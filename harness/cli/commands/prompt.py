"""Show the exact prompt and inputs of a model; loads no weights.

Also shows the token ids, where the model's tokenizer is here.

Example:
  reportcard prompt model=maira2 dataset=openi_findings limit=1
"""

from __future__ import annotations

import argparse

from reportcard.cli.arguments import add_json_flag, add_overrides
from reportcard.cli.output import say

GROUP = "Work on one model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_flag(parser)
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    from reportcard.predict.show_prompt import show_prompts

    return show_prompts(arguments.overrides, arguments.json, say)
