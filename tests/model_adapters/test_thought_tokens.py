"""Marks of thoughts that are special tokens, or that a chat template puts into the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from reportcard.core.model_answer import is_mark, opened_thoughts, without_thoughts
from reportcard.model_adapters._chat_models import decode


@dataclass(frozen=True)
class AddedToken:
    content: str
    special: bool


class WordTokenizer:
    """Token ids are positions in a list of words; `special` ones are left out when asked."""

    def __init__(self, words: list[str], special: set[str]) -> None:
        self.words = words
        self.added_tokens_decoder = {
            i: AddedToken(word, word in special)
            for i, word in enumerate(words)
            if word in special or word.startswith("<")
        }

    def decode(self, ids: Any, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        left_out = {i for i, token in self.added_tokens_decoder.items() if token.special}
        return "".join(self.words[i] for i in ids if i not in left_out)


@pytest.mark.parametrize(
    ("words", "special"),
    [
        (["[THINK]", "A mass?", "[/THINK]", "Clear.", "</s>"], {"[THINK]", "[/THINK]", "</s>"}),
        (["<think>", "An effusion?", "</think>", "Clear.", "<|im_end|>"], {"<|im_end|>"}),
        (
            ["<|channel|>", "analysis", "<|message|>", "An effusion?", "<|end|>", "<|start|>",
             "assistant", "<|channel|>", "final", "<|message|>", "Clear.", "<|return|>"],
            {"<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|return|>"},
        ),
    ],
)  # fmt: skip
def test_special_tokens_that_mark_thoughts_are_kept(words: list[str], special: set[str]) -> None:
    text = decode(WordTokenizer(words, special), range(len(words)))
    assert without_thoughts(text) == "Clear."


def test_without_thoughts_special_tokens_are_left_out_as_ever() -> None:
    words = ["<s>", "Clear.", "</s>"]
    assert decode(WordTokenizer(words, {"<s>", "</s>"}), (0, 1, 2)) == "Clear."


@pytest.mark.parametrize("token", ["<eos>", "<|im_end|>", "<image>", "</s>", "[INST]", "<pad>"])
def test_other_special_tokens_are_no_marks(token: str) -> None:
    assert not is_mark(token)


@pytest.mark.parametrize(
    ("prompt", "opening"),
    [
        ("user: Describe. assistant:<think>\n", "<think>"),
        ("Describe.<|Assistant|>[THINK]", "[THINK]"),
        ("Describe.<|im_start|>assistant\n", ""),
        ("Describe.<think>\n\n</think>\n\n", ""),
        ("<think>Think first.</think> Describe. <think> is a tag.", ""),
    ],
)
def test_a_template_may_open_the_thoughts(prompt: str, opening: str) -> None:
    assert opened_thoughts(prompt) == opening
