"""Drop the thoughts of a reasoning model from its answer: a draft is no verdict and no report.

Open models mark their thoughts in many ways, and an endpoint passes them on in the text unless it
was started with the parser of that model. Read here, each where it was found:

    <think>…</think>                   DeepSeek-R1, Qwen3, QwQ, GLM-4.5, MiniMax-M1, Hunyuan, Phi-4,
                                       Nemotron, Step3, Ernie 4.5, Granite 3.3, OLMo 3 (vLLM's
                                       vllm/reasoning/*_reasoning_parser.py)
    <seed:think>, <longcat_think>, <mm:think>   Seed-OSS, LongCat, MiniMax-M3 (the same folder)
    [THINK]…[/THINK]                   Magistral (mistral_reasoning_parser.py)
    [unused16]…[unused17]              openPangu (pangu_reasoning_parser.py)
    ◁think▷…◁/think▷                   Kimi-VL-Thinking, Kimi-Dev (their model cards; VLMEvalKit)
    <|START_THINKING|>…<|END_THINKING|>   Command A Reasoning (cohere_command_reasoning_parser.py)
    <|inner_prefix|>…<|inner_suffix|>  Apertus (apertus_reasoning_parser.py)
    <|channel>thought…<channel|>       Gemma 4 (gemma4_utils.py)
    <unused94>thought…<unused95>       MedGemma (google-health/medgemma, its notebooks)
    <|begin_of_thought|>…<|end_of_thought|>   Sky-T1, OpenThinker (Open WebUI's list of tags)
    <thinking>, <thought>, <reasoning>, <reason>, <reflection>, <scratchpad>, <analysis>   prompts
                                       that ask for them; EXAONE Deep has <thought>
    <|channel|>analysis<|message|>…<|channel|>final<|message|>   gpt-oss (OpenAI's harmony format)
    Here is my thought process: … Here is my response:   Granite 3.2 (granite_reasoning_parser.py)

The marks around the answer itself go as well: <answer>, <response>, <|begin_of_solution|>,
<|START_RESPONSE|>, <|START_TEXT|>, [BEGIN FINAL RESPONSE]. Every step is linear in the length of
the text.
"""

from __future__ import annotations

import re

_TAGS = (
    "think|thinking|thoughts?|reason|reasoning|reflection|scratchpad|analysis"
    "|seed:think|longcat_think|mm:think"
)
_PAIRS = {  # name: (opening mark, closing mark)
    "tags": (rf"<(?P<opened>{_TAGS})(?:\s[^<>]{{0,100}})?>", rf"</(?P<closed>{_TAGS})\s{{0,5}}>"),
    "magistral": (r"\[THINK\]", r"\[/THINK\]"),
    "pangu": (r"\[unused16\]", r"\[unused17\]"),
    "kimi": (r"◁think▷", r"◁/think▷"),
    "cohere": (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    "apertus": (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    "gemma": (r"<\|channel>", r"<channel\|>"),
    "medgemma": (r"<unused94>", r"<unused95>"),
    "thought": (r"<\|(?:begin|start)_of_thought\|>", r"<\|end_of_thought\|>"),
    "granite": (
        r"\bHere(?:'s| is) my thought process:",
        r"\bHere(?:'s| is) my response:",
    ),
}
_MARK = re.compile(
    "|".join(f"(?P<open_{n}>{o})|(?P<close_{n}>{c})" for n, (o, c) in _PAIRS.items()),
    re.IGNORECASE,
)
_CHANNEL = re.compile(
    r"(?:<\|start\|>\s{0,5}assistant\s{0,5})?<\|channel\|>\s{0,5}(?P<name>\w{1,20})[^<]{0,200}(?:<\|constrain\|>[^<]{0,50})?<\|message\|>"
)
_HARMONY = {
    *("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"),
    *("<|end|>", "<|return|>", "<|call|>"),
}
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_PLAIN_CHANNELS = re.compile(r"\s*analysis(?=[A-Z])")  # harmony without its special tokens
_WRAPPERS = (
    ("<answer>", "</answer>"),
    ("<response>", "</response>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|START_TEXT|>", "<|END_TEXT|>"),
    ("[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"),
)


def without_thoughts(text: str) -> str | None:
    """Return the answer in a model's text; None where it holds thoughts and no answer.

    Thoughts that were begun and not ended leave no answer, whatever stands before or in them.
    Text before a lone closing mark is thoughts, since chat templates put the opening mark into the
    prompt.

    >>> without_thoughts("<think>Two errors? No.</think>One error.")
    'One error.'
    >>> without_thoughts("<think>A first guess is 3 but") is None
    True
    """
    answer = _final_channel(text)
    if answer is not None:
        answer = _outside(answer)
    return None if answer is None else _unwrapped(answer)


def answer_in(text: str) -> str:
    """Return the answer in a model's text, empty where it holds none.

    A text without thoughts stays as it is, white space included.
    """
    answer = without_thoughts(text) or ""
    return text if answer == text.strip() else answer


def opened_thoughts(prompt: str) -> str:
    """Return the mark at the end of a prompt that opens thoughts, as some chat templates put it.

    The answer to such a prompt begins within thoughts, which only this mark can tell.

    >>> opened_thoughts("user: Write the findings. assistant: <think> ")
    '<think>'
    """
    tail = prompt.rstrip()[-200:]
    marks = list(_MARK.finditer(tail))
    last = marks[-1] if marks else None
    opens = last and str(last.lastgroup).startswith("open_") and last.end() == len(tail)
    return last[0] if last and opens else ""


def is_mark(token: str) -> bool:
    """Return whether a special token marks thoughts, a channel of them, or the answer.

    Such tokens must be kept when token ids become text.

    >>> is_mark("[THINK]"), is_mark("<|im_end|>")
    (True, False)
    """
    wrappers = {mark for pair in _WRAPPERS for mark in pair}
    return token in wrappers or token in _HARMONY or _MARK.fullmatch(token) is not None


def _final_channel(text: str) -> str | None:
    """The last message of gpt-oss's final channel; the text itself where it has no channels."""
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        if _PLAIN_CHANNELS.match(text):
            _, ended, after = text.rpartition("assistantfinal")
            return after if ended else None
        return text
    finals = [channel for channel in channels if channel["name"].lower() == "final"]
    if not finals:
        return None
    start = finals[-1].end()
    end = _CHANNEL_END.search(text, start)
    return text[start : end.start() if end else len(text)]


def _outside(text: str) -> str | None:
    """The text outside of thoughts; None where the last thoughts do not end."""
    kept: list[str] = []
    begin = 0
    inside: str | None = None
    for mark in _MARK.finditer(text):
        side, _, name = str(mark.lastgroup).partition("_")
        opens, name = side == "open", (mark["opened"] or mark["closed"] or name).lower()
        if opens and inside is None:
            kept.append(text[begin : mark.start()])
            inside = name
        elif not opens and inside in (None, name):
            if inside is None:  # the opening mark was in the prompt
                kept.clear()
            inside, begin = None, mark.end()
    if inside is not None:
        return None
    return "".join([*kept, text[begin:]])


def _unwrapped(answer: str) -> str:
    """The inside of the last pair of marks around an answer."""
    for opening, closing in _WRAPPERS:
        _, opened, inside = answer.rpartition(opening)
        if opened:
            answer = inside.partition(closing)[0]
    return answer.strip()
