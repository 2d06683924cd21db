"""Builds the CheXprompt prompt: in our own words, or in Microsoft's from a user's checkout.

Upstream's examples contain text in the style of MIMIC-CXR, so we do not ship them. They are read as
string literals from the source at a commit, and nothing in the checkout is imported.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from reportcard.api import Json, ReportCardError
from reportcard.llm.judge.contract import Message, prompt_id
from reportcard.metrics._rating import PARTS, TYPES, rating_schema
from reportcard.metrics._upstream import read_at

OURS = Path(__file__).parents[1] / "prompts" / "chexprompt.yaml"
SOURCE = "src/chexprompt/evaluator.py"
CONSTANTS = ("SYSTEM_INSTRUCTIONS", "USER_INSTRUCTIONS", "EXAMPLES_FORMATTED")
PLACES = ("examples_formatted", "eval_reference", "eval_candidate")


@dataclass(frozen=True)
class Wording:
    """A prompt: the messages before the pair, and how the pair is written.

    id      name and digest of everything static: `reportcard@1a2b3c4d`
    static  the messages before the pair
    put     (reference, candidate) → the content of the last message
    schema  JSON schema of the answer; None: free text, as upstream
    """

    id: str
    static: tuple[Message, ...]
    put: Callable[[str, str], str]
    schema: Json | None

    def messages(self, reference: str, candidate: str) -> tuple[Message, ...]:
        """Return the whole conversation for one pair."""
        return (*self.static, Message("user", self.put(reference, candidate)))


def reportcard_wording() -> Wording:
    """Read metrics/prompts/chexprompt.yaml: instructions and five examples as turns."""
    import yaml

    data = yaml.safe_load(OURS.read_text(encoding="utf-8"))
    static = [Message("system", data["system"].strip())]
    for example in data["examples"]:
        counts = {part: {k: example[part].get(k, 0) for k in TYPES} for part in PARTS}
        static.append(Message("user", as_data(example["reference"], example["candidate"])))
        static.append(Message("assistant", json.dumps(counts)))
    schema = rating_schema()
    name = prompt_id("reportcard", [[(m.role, m.content) for m in static], schema])
    return Wording(name, tuple(static), as_data, schema)


def as_data(reference: str, candidate: str) -> str:
    """Write a pair as two JSON strings, which no text in a report can end."""
    return json.dumps({"reference": reference, "candidate": candidate}, ensure_ascii=False)


def official_wording(root: Path, commit: str) -> Wording:
    """Read SYSTEM_INSTRUCTIONS and USER_INSTRUCTIONS, which is filled in as upstream does.

    Raises ReportCardError when the commit has no such file, or a constant is not a plain string.
    """
    where = f"{root}: {SOURCE} at commit {commit[:12]}"
    system, user, examples = _constants(read_at(root, commit, SOURCE), where)
    try:
        fields = [place for place in Formatter().parse(user) if place[1] is not None]
    except ValueError as error:
        raise ReportCardError(f"{where}: USER_INSTRUCTIONS is no template ({error}).") from None
    # Only plain names: no attribute, index, conversion or width.
    plain = all((spec or "", conversion) == ("", None) for _, _, spec, conversion in fields)
    if not plain or sorted(str(name) for _, name, _, _ in fields) != sorted(PLACES):
        raise ReportCardError(
            f"{where}: USER_INSTRUCTIONS must have the places {', '.join(PLACES)}, once each."
        )

    def put(reference: str, candidate: str) -> str:
        texts = (examples, reference, candidate)
        return user.format(**dict(zip(PLACES, texts, strict=True)))  # braces in texts stay

    name = prompt_id("official", [system, user, examples])
    return Wording(name, (Message("system", system),), put, None)


def _constants(source: str, where: str) -> list[str]:
    """The string literals of CONSTANTS at the top level of a module, in order."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ReportCardError(f"{where} is not Python that can be parsed.") from None
    values = {
        target.id: node.value
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for name in CONSTANTS:
        node = values.get(name)
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            problem = "is missing" if node is None else "is no plain string literal"
            raise ReportCardError(f"{where}: {name} {problem}; give the commit that has it.")
        found.append(node.value)
    return found
