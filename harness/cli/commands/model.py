"""The verbs about a model by itself."""

from __future__ import annotations

import argparse

from reportcard.cli.commands.output import config_of, say, say_aside


def generate(arguments: argparse.Namespace) -> int:
    from reportcard.predict.generation import generate_file

    return generate_file(
        config_of(arguments),
        arguments.requests,
        arguments.out,
        token_ids=arguments.token_ids,
        data_class=arguments.data_class,
        dua_id=arguments.dua,
        say=say_aside,
    )


def prompt(arguments: argparse.Namespace) -> int:
    from reportcard.predict.show_prompt import show_prompts

    return show_prompts(arguments.overrides, arguments.json, say)


def check(arguments: argparse.Namespace) -> int:
    from reportcard.analysis.check import check_models

    return check_models(config_of(arguments), arguments.studies, say)


def new_model(arguments: argparse.Namespace) -> int:
    from reportcard.models.scaffold import write_model

    return write_model(arguments.name, say)
