"""Rewrite a report of any layout as plain prose: layout is meaning, and rules read sentences.

A report may come as prose, as one fact per line, as numbered or bulleted items, as a Markdown or
tab-separated table, as "Pneumothorax: No / Effusion: Yes", as check boxes, as JSON, or out of a PDF
with ligatures and broken lines. `prose` returns all of them as sentences that end with a stop:

    Lungs clear⏎No effusion           →  Lungs clear. No effusion.
    | Pneumothorax | No |             →  Pneumothorax is absent.
    (-) effusion, (+) edema           →  no effusion. edema.
    no\\npneumothorax                  →  no pneumothorax.        (a wrapped line)

The rules labeler (chexpert_rules.py) reads its result; nothing here knows a finding.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

# Characters of PDFs and word processors. NFKC resolves ligatures and full-width forms.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_LINE_END = re.compile("\r\n?|[\v\f\u0085\u2028\u2029]")
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2212\u00ad", "-"),
        **dict.fromkeys("\u2018\u2019\u201b\u02bc`\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2015", "\u2014"),
        "\u00a0": " ",
    }
)
_HTML_LINE = re.compile(
    r"</?(?:br|p|li|ul|ol|tr|table|tbody|thead|div|h[1-6])\b[^<>]{0,200}>", re.I
)
_HTML_CELL = re.compile(r"</?t[dh]\b[^<>]{0,200}>", re.I)
_HTML_OTHER = re.compile(r"</?(?:b|i|u|em|strong|span|sup|sub)\b[^<>]{0,200}>", re.I)
_MARKDOWN = re.compile(r"\*{1,3}(?=\S)|(?<=\S)\*{1,3}|(?<!\w)_{2}(?=\w)|(?<=\w)_{2}(?!\w)|~~")
_HEADING = re.compile(r"[ \t]*(?:#{1,6}[ \t]+|>[ \t]?)")

_BULLET = re.compile(
    r"\s*(?:[*•‣◦▪●○·■□▸►»–—]|-(?=\s|[A-Z])|\(?\d{1,2}[.):](?=\s)|\(?[a-z][.)](?=\s))\s*"
)
_INLINE_BULLET = re.compile(r"\s[•‣◦▪●■▸►]\s*")
_INLINE_NUMBER = re.compile(r"(?:^|(?<=\s))\(?(?:(\d{1,2})[.)]|([a-h])\))(?=\s)")
_TABLE_RULE = re.compile(r"[\s|:+=-]*-[\s|:+=-]*")
_JSON_KEY = re.compile(r'"[^"\n]{1,80}"\s*:')

# A line that ends with one of these words goes on in the next one ...
_DANGLING = re.compile(
    r"(?:an?|the|of|and|n?or|not?|without|with|to|in|on|at|by|from|for|is|are|was|were|be|been"
    r"|have|has|than|that|which|as|due|may|might|could|cannot|any|new|left|right|upper|lower|middle"
    r"|small|tiny|minimal|mild|moderate|large|focal|acute|chronic|patchy|definite|significant"
    r"|evidence|bilateral|bibasilar|lobar|interstitial|pleural|pulmonary|cardiac|mediastinal"
    r"|[,:(/&-])",
    re.I,
)
# ... and one that begins with one of these goes on from the line before.
_CONTINUES = re.compile(
    r"(?:and|n?or|of|with|in|on|at|to|from|for|by|is|are|was|were|has|have|been|be|remains?"
    r"|appears?|seen|noted|identified|measuring|which|that|than|as)",
    re.I,
)
_WRAP_WIDTH = 40  # characters: a shorter line was not broken for its length

# What stands behind a finding in a form. Longer answers first.
_NO = (
    r"not (?:present|seen|identified|evident|detected|visualized|visualised|noted|applicable)"
    r"|none(?: (?:seen|identified|present|noted|evident|visualized|detected))?|no evidence"
    r"|resolved|cleared|excluded|ruled out|unlikely"
    r"|no|nil|neg|negative|absent|false|denied|-ve|\(\s*-\s*\)|\(\s*neg(?:ative)?\s*\)|\[\s*\]"
    r"|[✗✘☐]|-(?=\s*$)"
)
_YES = (
    r"yes|present|positive|pos|true|seen|identified|\+ve|\(\s*\+\s*\)|\[\s*x\s*\]|[✓✔☑☒]"
    r"|\+(?=\s*$)|x(?=\s*$)"
)
_MAYBE = (
    r"possibly|possible|maybe|uncertain|equivocal|indeterminate|questionable|suspected"
    r"|cannot (?:be )?exclude[d]?|not excluded|\(\s*\?\s*\)|\?(?=\s*$)"
)
_COLUMN_GAP = re.compile(
    rf"(?<=\w)(?:\t+| {{2,}}|\s*\.{{4,}}\s*)(?=(?:{_NO}|{_YES}|{_MAYBE})\s*$)|(?<=\w)\t+(?=\w)",
    re.I,
)
_BOUND = r"(?=\s*(?:[.,;/|)\]}]|$))"
_SEPARATOR = r"(?:\s*(?:[:=?]|->|→|=>)\s*|\s+[-–—]+\s*|\s*[–—-]\s*(?=[a-z]{2,4}\b))"
_ANSWERS = tuple(
    (re.compile(rf"(?<=\w){_SEPARATOR}(?:{answer}){_BOUND}\s*[.,;/|)\]}}]?", re.I), said)
    for answer, said in ((_NO, " is absent. "), (_YES, " is present. "), (_MAYBE, " is possible. "))
)
_ANSWER = re.compile(rf"\s*(?:{_NO}|{_YES}|{_MAYBE})[.,;]?\s*", re.I)
_ANSWERED = re.compile(rf"\w{_SEPARATOR}(?:{_NO}|{_YES}|{_MAYBE})$", re.I)
_SIGNS = (  # "effusion (-)": the sign needs no separator; one before the finding comes first
    (re.compile(r"(?:^|(?<=[.,;:/|]))\s*(?:\band )?\(\s*-\s*\)\s*(?=\w)"), " no "),
    (re.compile(r"(?:^|(?<=[.,;:/|]))\s*(?:\band )?\(\s*\+\s*\)\s*(?=\w)"), " . "),
    (re.compile(r"\s*\((?:\s*-\s*|neg|negative|absent|none|no|not seen)\)[.,;/|]?", re.I),
     " is absent. "),
    (re.compile(r"\s*\((?:\s*\+\s*|pos|positive|present|yes)\)[.,;/|]?", re.I), " is present. "),
    (re.compile(r"\s*\(\s*\?\s*\)[.,;/|]?"), " is possible. "),
)  # fmt: skip
_MINUS, _PLUS = re.compile(r"\(\s*-\s*\)"), re.compile(r"\(\s*\+\s*\)")
_SIGN_FIRST = re.compile(r"\s*\(\s*[-+]\s*\)\s*\w")
_CHECK_BOXES = (
    (re.compile(r"(?:\[\s?\]|☐)\s*(?=\w)"), ". no "),
    (re.compile(r"(?:\[\s?x\s?\]|[☑☒✓✔])\s*(?=\w)", re.I), ". "),
    (re.compile(r"[✗✘]\s*(?=\w)"), ". no "),
)
# "Effusion [x]": the box stands behind the finding where the item begins with a word.
_BOX = re.compile(r"\[\s?x?\s?\]|[☐☑☒✓✔✗✘]", re.I)
_EMPTY_BOX = re.compile(r"\[\s*\]|[☐✗✘]")
_ASKED = re.compile(r"(?<=\w)\?\s+(?=[a-z])")  # "Effusion? small on the left"
# "Lungs: clear" is one statement; other colons end the reach of a denial.
_STATED = re.compile(
    r"\b(lungs?|lung fields|pleural spaces?|costophrenic (?:angles|sulci))\s*:\s*"
    r"(?=(?:are |grossly |bilaterally )?(?:clear|sharp|intact)\b)",
    re.I,
)
_ANSWER_FIRST = re.compile(
    r"\s*(?:(?:pertinent )?negatives?(?: findings?)?(?: for)?|absent(?: findings?)?"
    r"|not (?:seen|present)|no(?: evidence of| signs? of)?|none of(?: the following)?|without)"
    r"\s*:\s*",
    re.I,
)
_SHORTHAND = (
    (re.compile(r"\bw/o\b", re.I), "without "),
    (re.compile(r"\bs/p\b", re.I), "status post "),
    (re.compile(r"\bc/w\b", re.I), "consistent with "),
    (re.compile(r"\br/o\b", re.I), "rule out "),
    (re.compile(r"\bw/(?=\s|\w)", re.I), "with "),
    (re.compile(r"\b(is|are|was|were|do|does|did|has|have|had|could|would|should)n'?t\b", re.I),
     r"\1 not"),
    (re.compile(r"\b(?:can't|cant)\b", re.I), "cannot"),
    (re.compile(r"(?<=\s)-ve\b|^-ve\b", re.I), "negative"),
    (re.compile(r"(?<=\s)\+ve\b|^\+ve\b", re.I), "positive"),
    (re.compile(r"\bneg\.? (?=for\b)", re.I), "negative "),
    (re.compile(r"[Øø∅]\s*(?=[A-Za-z])"), "no "),
    (re.compile(r"(?:^|(?<=[\s(]))\?\s?(?=[A-Za-z])"), "possible "),
    (re.compile(r"\band/or\b", re.I), "or"),
    (re.compile(r"\b(?:inconsistent|not consistent|not compatible) with\b", re.I), "not"),
)  # fmt: skip
_DASH = re.compile(r"\s*(?:[–—]+|(?<=\s)-+(?=\s)|--+)\s*")
_NUMBER_RANGE = re.compile(r"(?<=\d)\s*[–—]\s*(?=\d)")
_STOPS = (".", ";", "?", "!")


def prose(text: str, vocabulary: frozenset[str] = frozenset()) -> str:
    """Return the report as prose: one fact or sentence after the other, each with a stop.

    A dash between words stays as " - ", so that a reader can end a denial there. `vocabulary`
    tells whether a word that was hyphenated at a line end is written as one ("pneumo-⏎thorax").

    >>> prose("Lungs clear\\nNo effusion\\nPneumothorax on the right")
    'Lungs clear. No effusion. Pneumothorax on the right.'
    >>> prose("Pneumothorax: No / Effusion: Yes")
    'Pneumothorax is absent. Effusion is present.'
    """
    sentences: list[str] = []
    denied = False  # below a heading such as "Absent:"
    for line, is_item in _lines(_plain(text, vocabulary)):
        if not is_item:
            denied = False
        heading = _ANSWER_FIRST.fullmatch(line)
        if heading:
            denied = True
            continue
        for part in _items(line):
            said = _said(("no " if denied else "") + part)
            if said:
                sentences.append(said)
    return " ".join(sentences)


def _plain(text: str, vocabulary: frozenset[str]) -> str:
    """Plain characters and line ends: no ligatures, no markup, no word broken by a hyphen."""
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_CHARACTERS)
    text = _LINE_END.sub("\n", text)
    text = "".join(" " if ord(c) < 32 and c not in "\n\t" else c for c in text)
    if "<" in text:
        text = _HTML_OTHER.sub("", _HTML_CELL.sub(" | ", _HTML_LINE.sub("\n", text)))
    if _JSON_KEY.search(text):
        text = re.sub(r"[\"{}]", " ", re.sub(r"\},?\s*|,\s*(?=\")", "\n", text))

    def rejoined(match: re.Match[str]) -> str:
        whole = match[1] + match[2]
        return whole if whole.lower() in vocabulary else f"{match[1]} {match[2]}"

    return re.sub(r"(\w+)-\n\s*([a-z]+)", rejoined, text)


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """(logical line, is it an item of a list): wrapped lines are joined, tables read by row."""
    raw = [
        _COLUMN_GAP.sub(": ", _MARKDOWN.sub("", _HEADING.sub("", line)).rstrip())
        for line in text.split("\n")
    ]
    at = 0
    while at < len(raw):
        if not raw[at].strip():
            at += 1
            continue
        end = at
        while end < len(raw) and raw[end].strip():
            end += 1
        block = raw[at:end]
        at = end
        if (
            sum(line.count("|") >= 1 for line in block) >= max(1, len(block) - 1)
            and "|" in block[0]
        ):
            yield from ((row, True) for row in _rows(block))
        else:
            yield from _joined(block)


def _rows(block: Sequence[str]) -> Iterator[str]:
    """A table's rows as "first cell: other cells"; a mark means the heading of its column."""
    rules = [i for i, line in enumerate(block) if _TABLE_RULE.fullmatch(line)]
    table = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for i, line in enumerate(block)
        if i not in rules
    ]
    headings = table.pop(0) if rules and rules[0] == 1 and len(table) > 1 else []
    for cells in table:
        if headings:
            marked = [
                headings[i]
                for i, cell in enumerate(cells)
                if i and i < len(headings) and re.fullmatch(rf"x|\+|{_YES}", cell, re.I)
                and re.fullmatch(rf"{_NO}|{_YES}|{_MAYBE}", headings[i], re.I)
            ]  # fmt: skip
            if marked:
                yield f"{cells[0]}: {marked[0]}"
                continue
        cells = [cell for cell in cells if cell]
        if len(cells) > 1 and re.fullmatch(rf"{_NO}|{_YES}|{_MAYBE}", cells[0], re.I):
            cells[0], cells[1] = cells[1], cells[0]
        if cells:
            yield cells[0] + "".join(
                (": " if i == 0 else ". ") + cell for i, cell in enumerate(cells[1:])
            )


def _joined(block: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The lines of a paragraph, each with the lines that it was wrapped into."""
    wrapped = _is_wrapped(block)
    current, is_item = "", False
    for raw in block:
        bullet = _BULLET.match(raw)
        line = raw[bullet.end() :] if bullet else raw.strip()
        if not current:
            current, is_item = line, bool(bullet)
        elif _ANSWER.fullmatch(line) and not _ANSWERED.search(current):
            current = f"{current}: {line}"
        elif bullet or not _goes_on(current, line, wrapped):
            yield current, is_item
            current, is_item = line, bool(bullet)
        else:
            current = f"{current} {line}"
    if current:
        yield current, is_item


def _is_wrapped(block: Sequence[str]) -> bool:
    """Whether a paragraph was broken at a width: no line had room for the next one's first word."""
    lines = [line.strip() for line in block]
    width = max(map(len, lines))
    return width >= _WRAP_WIDTH and all(
        line.endswith(_STOPS) or len(line) + 1 + len(after.split()[0]) > width
        for line, after in pairwise(lines)
        if after
    )


def _goes_on(line: str, after: str, wrapped: bool) -> bool:
    """Whether `after` continues the sentence of `line`."""
    if line.endswith(_STOPS) or _ANSWERED.search(line):
        return False
    last = re.findall(r"\w+|\W", line)[-1]
    first = after.split()[0]
    if _DANGLING.fullmatch(last) or _CONTINUES.fullmatch(first):
        return True
    has_case = not (line.isupper() or line.islower())
    return wrapped and (not has_case or not first[:1].isupper() or first[:2].isupper())


def _items(line: str) -> Iterator[str]:
    """Split "1) … 2) …" and "… • …" on one line."""
    numbers = list(_INLINE_NUMBER.finditer(line))
    counts = [int(m[1]) if m[1] else ord(m[2]) for m in numbers]
    in_order = counts == [counts[0] + i for i in range(len(counts))] if counts else False
    if in_order and (len(counts) > 1 or counts[0] in (2, ord("b"))):
        cuts = [0, *(m.start() for m in numbers), len(line)]
        parts = [line[a:b] for a, b in pairwise(cuts)]
        parts = [_INLINE_NUMBER.sub("", part, count=1) for part in parts]
    else:
        parts = [line]
    for part in parts:
        for item in _INLINE_BULLET.split(part):
            yield item.strip()


def _said(item: str) -> str:
    """One item as sentences: answers, signs and shorthand in words."""
    item = _first_answer(item)
    if _SIGN_FIRST.match(item):  # "(-) effusion (+) edema": the signs stand before
        item = _MINUS.sub(". no ", _PLUS.sub(". ", item))
    if _BOX.search(item) and not _BOX.match(item.lstrip()):
        item = _BOX.sub(
            lambda box: " is absent. " if _EMPTY_BOX.match(box[0]) else " is present. ", item
        )
    for pattern, words in (*_CHECK_BOXES, *_SIGNS, *_ANSWERS, *_SHORTHAND):
        item = pattern.sub(words, item)
    item = _STATED.sub(r"\1 ", _ASKED.sub(": ", item)).replace("[", "(").replace("]", ")")
    item = _DASH.sub(" - ", _NUMBER_RANGE.sub("-", item))
    item = re.sub(r"\s+", " ", item)
    item = re.sub(r"\s+([.,;:?!])", r"\1", item)
    item = re.sub(r"(?:[.,;]\s*)*\.(?=\s|$)", ".", item).strip(" ,|/.:")
    if not re.search(r"\w", item):
        return ""
    return item if item.endswith(_STOPS) else item + "."


def _first_answer(item: str) -> str:
    """ "Absent: pneumothorax, effusion" as "no pneumothorax, effusion"."""
    return _ANSWER_FIRST.sub("no ", item, count=1) if _ANSWER_FIRST.match(item) else item


def words_of(phrases: Iterable[str]) -> frozenset[str]:
    """Every word of some phrases, for `prose(text, vocabulary)`."""
    return frozenset(word for phrase in phrases for word in phrase.split())
