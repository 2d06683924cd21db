"""MAIRA-2's prompt, answer and boxes: what needs neither torch nor weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reportcard.api import Box, Image, Phrase, Prior, Report, ReportCardError, Request
from reportcard.model_adapters._maira2_answer import on_original, parse
from reportcard.model_adapters.maira2 import Maira2
from reportcard.models.staged import Completion, Prepared

SYSTEM = (
    "You are an expert radiology assistant tasked with interpreting a chest X-ray study."
    "  USER:  Given the current frontal image"
)
DESCRIBE = (
    " Provide a description of the findings in the radiology study in comparison to the prior"
    " frontal image."
)
SECTIONS = " INDICATION: chest pain  // r/o pna TECHNIQUE: N/A COMPARISON: None.  ASSISTANT: "
PRIOR = " PRIOR_REPORT: FINDINGS: Clear lungs. IMPRESSION: Normal."


def image(name: str, view: str, height: int = 40, width: int = 30) -> Image:
    return Image(name, view, read=lambda: np.zeros((height, width), np.uint8))


FRONTAL, LATERAL, OLD = image("f", "PA"), image("l", "LATERAL"), image("o", "AP")
REPORT = Report("Clear lungs.", "Normal.")


def request(lateral: bool = False, prior: Prior | None = None, **changes: object) -> Request:
    return Request(
        **{
            "study_id": "s1",
            "images": (LATERAL, FRONTAL) if lateral else (FRONTAL,),
            "prior": prior,
            "indication": "chest pain  // r/o pna",
            "technique": "",
            "comparison": "None.",
            **changes,
        }
    )


INPUTS = [
    (False, None, " only<image>", ("f",)),
    (True, None, "<image> and the current lateral image<image>", ("f", "l")),
    (
        False,
        Prior((OLD,), REPORT),
        "<image> and the prior frontal image<image>" + PRIOR,
        ("f", "o"),
    ),
    (
        False,
        Prior((OLD,), None),
        "<image> and the prior frontal image<image> PRIOR_REPORT: N/A",
        ("f", "o"),
    ),
    (
        True,
        Prior((OLD,), REPORT),
        "<image> the current lateral image<image> and the prior frontal image<image>" + PRIOR,
        ("f", "l", "o"),
    ),
]


@pytest.mark.parametrize(("lateral", "prior", "images", "ids"), INPUTS)
def test_findings_are_asked_for_word_for_word(lateral, prior, images, ids):
    prompt = Maira2().prompt(request(lateral, prior))
    assert prompt.text == SYSTEM + images + DESCRIBE + SECTIONS
    assert tuple(i.image_id for i in prompt.images) == ids
    assert prompt.max_new_tokens == 300
    assert prompt.ids is None


@pytest.mark.parametrize(("lateral", "prior", "images", "ids"), INPUTS)
def test_grounded_findings_are_asked_for_word_for_word(lateral, prior, images, ids):
    prompt = Maira2().prompt(request(lateral, prior, task="grounded_findings"))
    assert prompt.text == SYSTEM + images + DESCRIBE + (
        " Each finding should be described as a self-contained plain-text sentence. If the finding"
        " is groundable, locate the finding in the current frontal chest X-ray image, with bounding"
        " boxes indicating all locations where it can be seen in the current frontal image."
        " Otherwise, generate just the ungrounded finding without bounding boxes."
    ) + SECTIONS  # fmt: skip
    assert tuple(i.image_id for i in prompt.images) == ids
    assert prompt.max_new_tokens == 450


@pytest.mark.parametrize(("lateral", "prior", "images", "ids"), INPUTS)
def test_phrase_grounding_shows_the_frontal_image_and_the_phrase_alone(lateral, prior, images, ids):
    asked = request(lateral, prior, task="phrase_grounding", phrase="Left effusion")
    prompt = Maira2().prompt(asked)
    assert prompt.text == SYSTEM + (
        "<image> Repeat the following finding as a grounded phrase with bounding boxes indicating"
        " all locations where it can be seen in the given chest X-ray image. Finding: Left effusion"
        "  ASSISTANT: "
    )
    assert prompt.images == (FRONTAL,)
    assert prompt.used == ("frontal", "phrase")
    assert prompt.max_new_tokens == 150
    assert ("lateral" in prompt.left_out) == lateral
    assert ("prior_image" in prompt.left_out) == (prior is not None)
    assert "indication" in prompt.left_out


def test_used_names_what_reaches_the_model():
    prompt = Maira2().prompt(request(True, Prior((OLD,), REPORT)))
    assert prompt.used == (
        "frontal",
        "lateral",
        "prior_image",
        "prior_report",
        "indication",
        "comparison",
    )
    assert prompt.left_out == {}


def test_a_prior_report_without_its_image_is_dropped_and_said_to_be():
    prompt = Maira2().prompt(request(prior=Prior((), REPORT)))
    assert "PRIOR_REPORT" not in prompt.text
    assert "Clear lungs" not in prompt.text
    assert "prior_report" not in prompt.used
    assert "no prior frontal image" in prompt.left_out["prior_report"]


# Texts as microsoft/maira-2's processing_maira2.py shows them: f" PRIOR_REPORT: {prior_report}" and
# f"INDICATION: {indication} TECHNIQUE: …", where only a section of length 0 is missing ("N/A").
@pytest.mark.parametrize(
    ("report", "shown"),
    [
        (Report("FINDINGS: Clear lungs.\n\nIMPRESSION: Normal. "), None),  # a text with headings
        (Report("  Clear lungs.\n"), None),
        (Report("EXAMINATION: PA view.  Clear lungs."), None),
        (Report(" "), None),
        (Report("", None), "N/A"),
        (Report(None, None), "N/A"),
        (Report("Clear lungs.", ""), "FINDINGS: Clear lungs."),
        (Report(None, "Normal."), "IMPRESSION: Normal."),
        (Report("Clear lungs.", "Normal."), "FINDINGS: Clear lungs. IMPRESSION: Normal."),
        (
            Report("Findings: Clear lungs.", " IMPRESSION: Normal."),
            "Findings: Clear lungs.  IMPRESSION: Normal.",
        ),
    ],
)
def test_a_prior_text_is_shown_as_it_is_and_sections_with_one_heading_each(report, shown):
    shown = report.findings if shown is None else shown
    text = Maira2().prompt(request(prior=Prior((OLD,), report))).text
    assert f"<image> PRIOR_REPORT: {shown} Provide a description" in text


@pytest.mark.parametrize("section", ["indication", "technique", "comparison"])
@pytest.mark.parametrize("text", ["  chest pain", "chest pain \n", "\tcough\n\nfever ", " "])
def test_white_space_of_a_section_reaches_the_model(section, text):
    prompt = Maira2().prompt(request(**{section: text}))
    assert f" {section.upper()}: {text}" in prompt.text
    assert (section in prompt.used) == bool(text.strip())


def test_blanks_are_no_text_that_was_left_out():
    blank = Prior((), Report("  "))
    assert "prior_report" not in Maira2().prompt(request(prior=blank)).left_out
    asked = request(prior=blank, task="phrase_grounding", phrase="Effusion", technique="  ")
    assert set(Maira2().prompt(asked).left_out) == {"indication", "comparison"}


def test_a_lateral_prior_is_no_prior():
    prompt = Maira2().prompt(request(prior=Prior((image("x", "LATERAL"),), REPORT)))
    assert prompt.images == (FRONTAL,)


def test_the_limit_of_new_tokens_can_be_set():
    assert Maira2(max_new_tokens=7).prompt(request()).max_new_tokens == 7


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": (LATERAL,)}, "no frontal image"),
        ({"task": "phrase_grounding"}, "needs a phrase"),
        *(
            ({"indication": f"see {token} above"}, f"the study's text contains {token}")
            for token in ("<image>", "<obj>", "</box>", "<x5>", "<y99>", "<s>", "</s>", "<unk>")
        ),
        ({"task": "phrase_grounding", "phrase": "a </s> b"}, "the study's text contains </s>"),
    ],
)
def test_what_cannot_be_asked_is_refused(changes, sentence):
    with pytest.raises(ReportCardError, match=sentence):
        Maira2().prompt(request(**changes))


def test_a_long_context_is_passed_on_whole():
    indication = "cough " * 5000
    assert indication.strip() in Maira2().prompt(request(indication=indication)).text


# Answers.


def bins(*numbers: int) -> Box:
    return Box(*((n + 0.5) / 100 for n in numbers))


GOLDENS = [
    ("", ()),
    ("  \n ", ()),
    (" The lungs are clear. ", (Phrase("The lungs are clear."),)),
    ("<obj>No effusion.</obj>", (Phrase("No effusion."),)),
    (
        "<obj>Effusion. <box><x55><y45><x70><y56></box></obj><obj>Normal heart.</obj>",
        (Phrase("Effusion.", (bins(55, 45, 70, 56),)), Phrase("Normal heart.")),
    ),
    (
        "<obj>Nodules <box><x0><y0><x99><y99></box><box><x1><y2><x3><y4></box></obj>",
        (Phrase("Nodules", (bins(0, 0, 99, 99), bins(1, 2, 3, 4))),),
    ),
    # Blanks between tokens, as slow tokenizers decode.
    (
        "<obj> Effusion. <box> <x1> <y2> <x3> <y4> </box> </obj>",
        (Phrase("Effusion.", (bins(1, 2, 3, 4),)),),
    ),
    # Cut short: in a word, in a box, after its last bin.
    ("<obj>Effusion in the", (Phrase("Effusion in the"),)),
    ("<obj>A.</obj><obj>B <box><x1><y2><x3>", (Phrase("A."), Phrase("B"))),
    ("<obj>B <box><x1><y2><x3><y4>", (Phrase("B", (bins(1, 2, 3, 4),)),)),
    # Nested, unopened, unclosed.
    ("<obj>A <obj>B</obj></obj>", (Phrase("A"), Phrase("B"))),
    ("A</obj><obj>B", (Phrase("A"), Phrase("B"))),
    ("<box><x1><y2><box><x3><y4><x5><y6></box>", (Phrase("", (bins(3, 4, 5, 6),)),)),
    # Text outside, text inside a box, bins outside a box.
    ("Look: <obj>A</obj> and more", (Phrase("Look:"), Phrase("A"), Phrase("and more"))),
    ("<obj>A <box><x1>oh<y2><x3><y4></box></obj>", (Phrase("A oh"),)),
    ("<obj>A <x1><y2><x3><y4></obj>", (Phrase("A"),)),
    # Boxes that are none: reversed, without extent, out of range, too many, in the wrong order.
    ("<obj>A<box><x9><y2><x3><y4></box></obj>", (Phrase("A"),)),
    ("<obj>A<box><x1><y9><x3><y4></box></obj>", (Phrase("A"),)),
    ("<obj>A<box><x1><y2><x1><y4></box></obj>", (Phrase("A"),)),
    ("<obj>A<box><x1><y2><x100><y4></box></obj>", (Phrase("A"),)),
    ("<obj>A<box><x1><y2><x3><y4><x5><y6></box></obj>", (Phrase("A"),)),
    ("<obj>A<box><y1><x2><y3><x4></box></obj>", (Phrase("A"),)),
    ("<obj></obj><obj> </obj>", ()),
    ("<x" + "9" * 10_000 + ">", ()),
]


@pytest.mark.parametrize(("text", "phrases"), GOLDENS)
def test_an_answer_is_read_as_far_as_it_can_be(text, phrases):
    assert parse(text) == phrases


TAGS = ["<obj>", "</obj>", "<box>", "</box>", "<x0>", "<y0>", "<x99>", "<y99>", "<x50>", "<y50>"]
PIECES = st.sampled_from([*TAGS, "<x100>", "<x٣>", " ", "<", "heart", "\n", "<obj", "\x00", "é"])


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60))
@example("<x٣><box>")
def test_no_text_upsets_the_parser_and_no_word_is_lost(text):
    phrases = parse(text)
    assert all(isinstance(box, Box) for p in phrases for box in p.boxes)  # Box checks itself
    said = " ".join(p.text for p in phrases)
    assert said.count("heart") == text.count("heart")


SENTENCE = st.text("abc ,.", min_size=1, max_size=12).map(str.strip).filter(bool)
SPAN = st.tuples(st.integers(0, 99), st.integers(0, 99)).map(sorted).filter(lambda s: s[0] < s[1])
BOX = st.tuples(SPAN, SPAN).map(lambda s: (s[0][0], s[1][0], s[0][1], s[1][1]))


@given(st.lists(st.tuples(SENTENCE, st.lists(BOX, max_size=3)), max_size=4))
def test_a_well_formed_answer_is_read_exactly(findings):
    text = "".join(
        f"<obj>{said} "
        + "".join(f"<box><x{a}><y{b}><x{c}><y{d}></box>" for a, b, c, d in boxes)
        + "</obj>"
        for said, boxes in findings
    )
    expected = tuple(Phrase(said, tuple(bins(*b) for b in boxes)) for said, boxes in findings)
    assert parse(text) == expected


# Boxes.


@given(st.integers(1, 4000), st.integers(1, 4000), BOX)
def test_a_box_returns_from_the_image_to_the_square(height, width, corners):
    box = bins(*corners)
    mapped = on_original(box, (height, width))
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    back = [
        (mapped.x_min * width - left) / side,
        (mapped.y_min * height - top) / side,
        (mapped.x_max * width - left) / side,
        (mapped.y_max * height - top) / side,
    ]
    assert back == pytest.approx([box.x_min, box.y_min, box.x_max, box.y_max], abs=1e-6)
    # Upstream cuts to whole pixels before it divides.
    upstream = int(box.x_min * side + left) / width
    assert 0 <= mapped.x_min - upstream + 1e-9 <= 1 / width + 1e-9


def test_boxes_reach_the_middle_square_and_nothing_else():
    everything = bins(0, 0, 99, 99)
    wide = on_original(everything, (100, 300))
    assert (wide.x_min, wide.x_max) == pytest.approx((100.5 / 300, 199.5 / 300))
    assert (wide.y_min, wide.y_max) == pytest.approx((0.005, 0.995))
    tall = on_original(everything, (301, 100))
    assert (tall.y_min, tall.y_max) == pytest.approx((100.5 / 301, 199.5 / 301))


def answered(said: str, task: str = "grounded_findings", phrase: str | None = None) -> Report:
    asked = request(task=task, phrase=phrase)
    adapter = Maira2()
    prepared = Prepared(asked, adapter.prompt(asked), (), ((100, 200),))
    return adapter.report(prepared, Completion(said))


def test_a_grounded_report_has_phrases_with_boxes_on_the_image():
    said = " <obj>Effusion. <box><x0><y0><x49><y49></box></obj><obj>Normal heart.</obj>"
    report = answered(said)
    assert report.findings == "Effusion. Normal heart."
    assert report.impression is None
    assert [p.text for p in report.phrases] == ["Effusion.", "Normal heart."]
    assert report.phrases[0].boxes[0].x_min == pytest.approx(0.2525)
    assert report.phrases[1].boxes == ()


def test_places_without_words_are_no_finding():
    report = answered("<obj><box><x1><y1><x2><y2></box></obj><obj>A.</obj>")
    assert [p.text for p in report.phrases] == ["A."]


def test_plain_findings_have_no_phrases():
    assert answered(" The lungs are clear.", "findings") == Report("The lungs are clear.")


def test_markup_in_plain_findings_is_taken_off():
    assert answered("<obj>A.</obj><obj>B.</obj>", "findings") == Report("A. B.")


def test_phrase_grounding_answers_for_the_phrase_that_was_asked_for():
    said = "<obj>effusion <box><x1><y1><x2><y2></box><box><x3><y3><x9><y9></box></obj>"
    report = answered(said, "phrase_grounding", "Left effusion")
    assert report.findings == "effusion"
    assert [p.text for p in report.phrases] == ["Left effusion"]
    assert len(report.phrases[0].boxes) == 2


def test_an_answer_of_nothing_is_nothing():
    for task in ("findings", "grounded_findings", "phrase_grounding"):
        assert answered("  ", task, "A") == Report("")


# Pixels.


def test_a_constant_image_is_black_and_not_nan():
    for value in (0, 7, 255):
        pixels = Maira2().pixels(np.full((600, 518), value, np.uint8))
        assert pixels.shape == (3, 518, 518)
        assert pixels == pytest.approx(-0.5307 / 0.2583, abs=1e-6)


def test_grey_values_are_stretched_to_the_whole_range():
    grey = np.full((518, 518), 50, np.uint8)
    grey[0, 0], grey[0, 1], grey[0, 2] = 40, 90, 41
    pixels = Maira2().pixels(grey)[0] * 0.2583 + 0.5307
    # 1/50 of 255 is 5.1 and becomes 5: upstream cuts, it does not round.
    assert pixels[0, :3] * 255 == pytest.approx([0, 255, 5], abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(640, 901), (901, 640), (519, 518), (40, 30)])
def test_the_middle_square_is_what_the_model_sees(height, width):
    """A column or row outside the square changes nothing; one inside does."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (height, width), dtype=np.uint8)
    grey[height // 2, width // 2], grey[height // 2, width // 2 + 1] = 0, 255
    other, inside = grey.copy(), grey.copy()
    rest = abs(height - width) // 2
    if rest > 20:  # beyond the reach of the bicubic filter
        (other if width > height else other.T)[:, : rest - 20] = 128
        assert np.array_equal(Maira2().pixels(other), Maira2().pixels(grey))
    inside[height // 2 - 3, width // 2] = 200
    assert not np.array_equal(Maira2().pixels(inside), Maira2().pixels(grey))


def test_the_card_names_repository_and_commit():
    card = Maira2("microsoft/maira-2@" + "0" * 40).card
    assert card.weights == "microsoft/maira-2@" + "0" * 40
    assert card.revision == "0" * 40
