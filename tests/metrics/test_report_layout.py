"""Layout is meaning: the same facts in many layouts get the same labels."""

import itertools
import textwrap

import pytest

pytest.importorskip("negspacy")

from reportcard.metrics.annotators._report_layout import prose
from reportcard.metrics.annotators.chexpert_rules import CheXpertRules

# (finding, is it present): each set is rendered in every layout.
FACTS = [
    [("pneumothorax", False), ("pleural effusion", True), ("cardiomegaly", True)],
    [("pleural effusion", False), ("pneumonia", False), ("atelectasis", True)],
    [("edema", True), ("consolidation", False), ("rib fracture", True), ("nodule", False)],
    [("cardiomegaly", False), ("pneumothorax", False), ("pleural thickening", False)],
    [("emphysema", True), ("pneumothorax", False)],
]


def sentence(finding, present):
    return f"There is {finding}" if present else f"There is no {finding}"


def short(finding, present):
    return finding.capitalize() if present else f"No {finding}"


def yes(present, words=("Yes", "No")):
    return words[0] if present else words[1]


def markdown(facts):
    rows = "\n".join(f"| {f.capitalize()} | {yes(p)} |" for f, p in facts)
    return f"| Finding | Status |\n|---|---|\n{rows}"


def marked(facts):
    rows = "\n".join(f"| {f} | {'x' if p else ''} | {'' if p else 'x'} |" for f, p in facts)
    return f"| Finding | Present | Absent |\n|:--|:-:|:-:|\n{rows}"


def numbered(facts):
    return " ".join(f"{i}) {short(*fact)}" for i, fact in enumerate(facts, 1))


def ligatures(facts):
    text = ". ".join(short(*fact) for fact in facts) + "."
    return text.replace("ffu", "\ufb00u").replace("fi", "\ufb01").replace("fl", "\ufb02")


def wrapped(facts):
    text = ". ".join(f"On this examination, {sentence(*fact).lower()} at all" for fact in facts)
    return textwrap.fill(text + ".", 46)


LAYOUTS = {
    "prose": lambda facts: ". ".join(sentence(*fact) for fact in facts) + ".",
    "lines": lambda facts: "\n".join(short(*fact) for fact in facts),
    "CRLF lines": lambda facts: "\r\n".join(short(*fact) for fact in facts),
    "lower-case lines": lambda facts: "\n".join(short(*fact).lower() for fact in facts),
    "bullets": lambda facts: "\n".join(f"- {short(*fact)}" for fact in facts),
    "dots": lambda facts: " \u2022 ".join(short(*fact) for fact in facts),
    "numbers on one line": numbered,
    "numbered lines": lambda facts: "\n".join(f"{i}. {short(*f)}" for i, f in enumerate(facts, 1)),
    "Markdown table": markdown,
    "table with marks": marked,
    "answers": lambda facts: " / ".join(f"{f.capitalize()}: {yes(p)}" for f, p in facts),
    "answers by line": lambda facts: "\n".join(f"{f.capitalize()}: {yes(p)}" for f, p in facts),
    "answers after dashes": lambda facts: "\n".join(
        f"{f.capitalize()} - {yes(p, ('present', 'absent'))}" for f, p in facts
    ),
    "signs": lambda facts: ", ".join(f"{f} {yes(p, ('(+)', '(-)'))}" for f, p in facts),
    "signs before": lambda facts: " ".join(f"{yes(p, ('(+)', '(-)'))} {f}" for f, p in facts),
    "check boxes": lambda facts: "\n".join(f"[{yes(p, 'x ')}] {f}" for f, p in facts),
    "tabs": lambda facts: "\n".join(f"{f.capitalize()}\t{yes(p)}" for f, p in facts),
    "JSON": lambda facts: "{" + ", ".join(f'"{f}": "{yes(p)}"' for f, p in facts) + "}",
    "HTML list": lambda facts: "".join(f"<li>{short(*fact)}</li>" for fact in facts),
    "headings": lambda facts: "\n".join(
        f"{word}:\n" + "\n".join(f"- {f}" for f, p in facts if p == present)
        for word, present in (("Absent", False), ("Present", True))
    ),
    "shorthand": lambda facts: ". ".join(f if p else f"Chest w/o {f}" for f, p in facts),
    "contraction": lambda facts: ". ".join(
        sentence(f, True) if p else f"There isn't {f}" for f, p in facts
    ),
    "PDF ligatures": ligatures,
    "full width": lambda facts: ". ".join(short(*fact) for fact in facts).translate(
        {code: code + 0xFEE0 for code in range(ord("a"), ord("z") + 1)}
    ),
    "wrapped lines": wrapped,
}


@pytest.fixture(scope="module")
def labeler():
    annotator = CheXpertRules()
    yield annotator
    annotator.close()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("facts", FACTS, ids=[facts[0][0] for facts in FACTS])
def test_a_layout_changes_no_label(labeler, facts, layout):
    text = LAYOUTS[layout](facts)
    want, found = labeler.annotate([LAYOUTS["prose"](facts), text])
    assert found == want, f"{text!r} was read as {prose(text)!r}"


def test_the_labels_of_prose_are_the_facts(labeler):
    """Without this, one blind reading of all layouts would pass."""
    notes = labeler.annotate([LAYOUTS["prose"](facts) for facts in FACTS])
    for facts, note in zip(FACTS, notes, strict=True):
        named = [p for f, p in facts if f != "emphysema"]
        codes = note["labels"][:-1]
        assert codes.count(1) == named.count(True)
        assert codes.count(2) == named.count(False)
        assert note["labels"][-1] == int(not any(p for _, p in facts))


def test_order_of_the_facts_changes_no_label(labeler):
    for layout in LAYOUTS.values():
        for facts in FACTS:
            notes = labeler.annotate([layout(list(p)) for p in itertools.permutations(facts)][:6])
            assert all(note == notes[0] for note in notes)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("There is no\nevidence of effusion", "There is no evidence of effusion."),
        ("No pneumo-\nthorax", "No pneumothorax."),
        ("A 3 - 4 mm nodule.", "A 3 - 4 mm nodule."),
        ("Chest x-ray, follow-up.", "Chest x-ray, follow-up."),
        ("FINDINGS:\nClear lungs", "FINDINGS: Clear lungs."),
        ("Effusion: no change", "Effusion: no change."),
        ("", ""),
        (" \n\t", ""),
    ],
)
def test_prose(text, want):
    assert prose(text, frozenset({"pneumothorax"})) == want


@pytest.mark.parametrize("character", ["\x00", "\ud800", "\u202e", "\U0001f4a9", "|", "\t", "("])
def test_strange_characters_cost_nothing(character):
    assert "effusion" in prose(f"No{character} {character * 5000} effusion {character}")
