"""RadFact's own prompts, read from a checkout: here one with its layout and invented words."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from reportcard.metrics.annotators.radfact import RadfactAnnotator
from tests.metrics.radfact_fixtures import FakeJudge

PHRASES_DIR = "src/radfact/llm_utils/report_to_phrases/prompts"
NLI_DIR = "src/radfact/llm_utils/nli/prompts"
INVENTED = {
    f"{PHRASES_DIR}/system_message.txt": "Split it, invented.",
    f"{PHRASES_DIR}/few_shot_examples.json": json.dumps(
        [
            {
                "example_id": "one",
                "findings_text": "Air under the diaphragm and a broken rib.",
                "parsed_report": {
                    "id": "one",
                    "sentence_list": [
                        {
                            "orig": "Air under the diaphragm and a broken rib.",
                            "new": ["Air under the diaphragm.", "A broken rib."],
                        }
                    ],
                },
            }
        ]
    ),
    f"{NLI_DIR}/system_message_ev_singlephrase.txt": "Verify it, invented.",
    f"{NLI_DIR}/few_shot_examples.json": json.dumps(
        [
            {
                "example_id": "one",
                "input": {"phrases_A": ["A big heart."], "phrases_B": ["Heart big.", "A rib."]},
                "output": {
                    "phrases_A_evidenced": [
                        {
                            "evidence": ["Heart big."],
                            "phrase": "A big heart.",
                            "status": "entailment",
                        }
                    ],
                    "phrases_B_evidenced": [
                        {
                            "evidence": ["A big heart."],
                            "phrase": "Heart big.",
                            "status": "entailment",
                        },
                        {"evidence": [], "phrase": "A rib.", "status": "neutral"},
                    ],
                },
            }
        ]
    ),
}


@pytest.fixture
def checkout(tmp_path: Path) -> Callable[[dict[str, str]], tuple[str, str]]:
    """A git repository with the layout of microsoft/RadFact and invented words: (root, commit)."""

    def make(files: dict[str, str]) -> tuple[str, str]:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

        def git(*arguments: str) -> str:
            who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
            command = ["git", "-C", str(tmp_path), *who, *arguments]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        git("init", "-q")
        git("add", ".")
        git("commit", "-q", "--no-gpg-sign", "-m", "invented")
        return str(tmp_path), git("rev-parse", "HEAD").strip()

    return make


def test_official_prompts_are_arranged_as_radfact_arranges_them(
    checkout: Callable[[dict[str, str]], tuple[str, str]],
) -> None:
    root, commit = checkout(INVENTED)
    (Path(root) / PHRASES_DIR / "system_message.txt").write_text("changed later")
    answer = json.dumps({"sentence_list": [{"orig": "x", "new": ["An opacity."]}]})
    verdict = yaml.safe_dump(
        {"phrase": "Opacity!", "evidence": ["an opacity"], "status": "entailment"}
    )
    judge = FakeJudge({"Opaque.": answer, (("An opacity.",), "b"): f"```yaml\n{verdict}```"})
    annotator = RadfactAnnotator(judge, "official", root, commit)
    assert annotator.id == "radfact_official"
    assert annotator.missing() is None
    (found,) = annotator.annotate([(("b",), "Opaque.")])
    assert found["candidate"] == [
        {"text": "b", "status": "entailment", "evidence": ["An opacity."]}
    ]
    first, second = judge.asked[0], judge.asked[1]
    assert first.messages[0].content.startswith("Split it, invented.\n\n")
    assert "sentence_list" in first.messages[0].content
    assert [m.role for m in first.messages] == ["system", "user", "assistant", "user"]
    assert json.loads(first.messages[2].content)["sentence_list"][0]["new"][1] == "A broken rib."
    assert first.messages[-1].content == "Opaque."
    assert second.messages[0].content == "Verify it, invented."
    asks = [m.content for m in second.messages[1:-1:2]]
    assert asks == [
        "reference:\n- Heart big.\n- A rib.\nhypothesis: A big heart.\n",
        "reference:\n- A big heart.\nhypothesis: Heart big.\n",
        "reference:\n- A big heart.\nhypothesis: A rib.\n",
    ]
    assert second.messages[6].content == "phrase: A rib.\nevidence: []\nstatus: not_entailment\n"
    assert second.messages[-1].content == "reference:\n- An opacity.\nhypothesis: b\n"
    assert first.max_tokens == second.max_tokens == 1024
    assert first.prompt.startswith("official@")


def test_official_prompts_that_are_not_there_are_missing_not_a_crash(
    checkout: Callable[[dict[str, str]], tuple[str, str]], tmp_path: Path
) -> None:
    def missing(root: str | None, commit: str) -> str:
        return str(RadfactAnnotator(FakeJudge(), "official", root, commit).missing())

    assert "git clone https://github.com/microsoft/RadFact" in missing(None, "0" * 40)
    assert "No checkout" in missing(str(tmp_path / "nowhere"), "0" * 40)
    name = f"{NLI_DIR}/few_shot_examples.json"
    root, commit = checkout(INVENTED | {name: '[{"input": {}}]'})
    assert "not laid out" in missing(root, commit)
    assert "0000000" in missing(root, "0" * 40)
    root, commit = checkout(INVENTED | {name: "{"})
    assert "not laid out" in missing(root, commit)
