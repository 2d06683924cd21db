"""A LLaMA-like tokenizer of 700 pieces, trained once per session on invented reports."""

from __future__ import annotations

import io
from functools import cache
from itertools import product
from pathlib import Path

PIECES = 700
PLACES = ("right lung base", "left upper lobe", "lingula", "right costophrenic angle", "hila")
FINDINGS = ("opacity", "effusion", "pneumothorax", "consolidation", "atelectasis", "calcification")
FRAMES = (
    "There is a small {finding} in the {place}.",
    "No {finding} is seen at the {place}; the heart is of normal size.",
    "INDICATION: cough and fever  // r/o {finding} of the {place}?",
    "USER: Describe the findings in the radiology image given the following: {finding}. ASSISTANT:",
    "___ year old with shortness of breath, {finding}, {place} unchanged since 12/3/2019.",
)


def tiny_sentencepiece(folder: Path) -> Path:
    """Writes `tokenizer.model`: bos 1, eos 2, unk 0, no pad; bytes for what it has no piece for,
    digits one by one, blanks as they are. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.model"
    path.write_bytes(_trained())
    return path


@cache
def _trained() -> bytes:
    import sentencepiece

    text = [f.format(finding=a, place=b) for f, a, b in product(FRAMES, FINDINGS, PLACES)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        model_type="bpe",
        vocab_size=PIECES,
        byte_fallback=True,
        bos_id=1,
        eos_id=2,
        unk_id=0,
        pad_id=-1,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()
