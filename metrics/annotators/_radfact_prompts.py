"""Builds RadFact's two prompts: in our own words, or in those of a checkout of microsoft/RadFact.

`reportcard`: metrics/prompts/radfact_*.yaml, JSON in and out. A report is sent inside a JSON
string, which no text in the report can end.

`official`: instructions and examples of `src/radfact/llm_utils/*/prompts` at a commit, arranged as
RadFact arranges them: 9 examples and the bare report for phrases, answered in JSON; for entailment
10 pairs of reports that become 67 single-phrase examples, in YAML both ways. Two things differ:
RadFact appends LangChain's sentence about the JSON schema to the first prompt, and we append ours;
and premises are sorted and without repeats, so that a verdict is about a set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from reportcard.api import Json, ReportCardError
from reportcard.llm.judge.contract import AnswerReading, Message, closed_object, prompt_id
from reportcard.metrics._upstream import read_at
from reportcard.metrics.annotators._radfact_answers import (
    STATUSES,
    parse_entailment,
    parse_phrases,
    parse_yaml,
)

OWN = Path(__file__).parent.parent / "prompts"
URL = "https://github.com/microsoft/RadFact"
UPSTREAM = "src/radfact/llm_utils"
EXAMPLES = "prompts/few_shot_examples.json"
MAX_TOKENS = 1024  # configs/default.yaml of RadFact


@dataclass(frozen=True)
class Prompt:
    """A conversation up to its last message, how that is written, and how the answer is read.

    write    texts of the question → the last message
    schema   texts of the question → JSON schema of the answer; None: free text
    """

    id: str
    static: tuple[Message, ...]
    write: Callable[[Json], str]
    parse: Callable[[str], Any]
    schema: Callable[[Json], Json] | None = None


@dataclass(frozen=True)
class Prompts:
    """The prompts of RadFact's two questions."""

    phrases: Prompt
    entailment: Prompt


def _strings(**more: Any) -> Json:
    return {"type": "array", "items": {"type": "string"}, **more}


def _room(n: int) -> int:
    """The maximum length for a list of up to n items: 8 or a power of 2.

    So servers compile few schemas. Without a maximum a small model repeats a phrase until its
    tokens are used up.
    """
    return max(8, 1 << (n - 1).bit_length())


def _phrases_schema(texts: Json) -> Json:
    """The schema allows about as many phrases as the report has words."""
    return closed_object({"phrases": _strings(maxItems=_room(len(texts["report"].split())))})


def _entailment_schema(texts: Json) -> Json:
    return closed_object(
        {
            "evidence": _strings(maxItems=_room(len(texts["premises"]))),
            "status": {"type": "string", "enum": ["entailment", "not_entailment"]},
        }
    )


PARSED_REPORT = closed_object(
    {
        "sentence_list": {
            "type": "array",
            "items": closed_object({"orig": {"type": "string"}, "new": _strings()}),
        }
    }
)


def reportcard_prompts() -> Prompts:
    """Return the prompts in our own words."""
    return Prompts(
        _own("radfact_phrases.yaml", _phrases_schema, parse_phrases),
        _own("radfact_entailment.yaml", _entailment_schema, parse_entailment),
    )


def _own(
    name: str, schema: Callable[[Json], Json], parse: Callable[[str], AnswerReading]
) -> Prompt:
    found = yaml.safe_load((OWN / name).read_text(encoding="utf-8"))
    sample = schema(found["examples"][0]["ask"])
    shots = ((_json(one["ask"]), _json(one["answer"])) for one in found["examples"])
    static = _conversation(found["system"], shots)
    return Prompt(_id("reportcard", static, sample), static, _json, parse, schema)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def official_prompts(root: str | None, commit: str) -> Prompts:
    """Return the prompts of a checkout.

    Raises ReportCardError when it is not there, or its files have another layout.
    """
    if not root:
        raise ReportCardError(
            f"RadFact's own prompts are read from a checkout: git clone {URL}, and give"
            " annotator.radfact_official.official_root=FOLDER"
        )
    read = partial(read_at, Path(root).expanduser(), commit)
    try:
        return Prompts(_official_phrases(read), _official_entailment(read))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ReportCardError(
            f"{root} at {commit[:12]}: its prompts are not laid out as at"
            f" 72463ac ({type(error).__name__})."
        ) from None


def _official_phrases(read: Callable[[str], str]) -> Prompt:
    folder = f"{UPSTREAM}/report_to_phrases"
    system = (
        read(f"{folder}/prompts/system_message.txt")
        + "\n\nAnswer with one JSON object that fits this JSON schema, and with nothing else:\n"
        + json.dumps(PARSED_REPORT)
    )
    shots = (
        (str(one["findings_text"]), json.dumps(_parsed_report(one["parsed_report"])))
        for one in json.loads(read(f"{folder}/{EXAMPLES}"))
    )
    static = _conversation(system, shots)
    return Prompt(
        _id("official", static, None), static, lambda texts: texts["report"], parse_phrases
    )


def _parsed_report(value: Mapping[str, Any]) -> Json:
    """The fields of RadFact's ParsedReport in their order."""
    sentences = [{"orig": one["orig"], "new": one["new"]} for one in value["sentence_list"]]
    return {"id": value.get("id"), "sentence_list": sentences}


def _official_entailment(read: Callable[[str], str]) -> Prompt:
    folder = f"{UPSTREAM}/nli"
    samples = json.loads(read(f"{folder}/{EXAMPLES}"))
    static = _conversation(
        read(f"{folder}/prompts/system_message_ev_singlephrase.txt"),
        (shot for sample in samples for shot in _single_phrases(sample)),
    )
    return Prompt(_id("official", static, None), static, _comparison, parse_yaml)


def _single_phrases(sample: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """One example per phrase of a pair of reports: those of A given B, then those of B given A."""
    for own, other in (("A", "B"), ("B", "A")):
        premises = sample["input"][f"phrases_{other}"]
        for phrase in sample["output"][f"phrases_{own}_evidenced"]:
            answer = {
                "phrase": phrase["phrase"],
                "evidence": phrase["evidence"],
                "status": STATUSES[phrase["status"]],
            }
            yield _comparison({"premises": premises, "hypothesis": phrase["phrase"]}), _yaml(answer)


def _comparison(texts: Json) -> str:
    return _yaml({"reference": texts["premises"], "hypothesis": texts["hypothesis"]})


def _yaml(value: Json) -> str:
    return str(yaml.safe_dump(value, sort_keys=False))


def _conversation(system: str, shots: Iterator[tuple[str, str]]) -> tuple[Message, ...]:
    messages = [Message("system", system)]
    for ask, answer in shots:
        messages += Message("user", ask), Message("assistant", answer)
    return tuple(messages)


def _id(name: str, static: tuple[Message, ...], schema: Json | None) -> str:
    return prompt_id(name, [[[m.role, m.content] for m in static], schema])
