"""Tiny random encoders in the layouts of the real ones, and the bert-score package on them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reportcard.metrics.annotators.bertscore import BertscoreAnnotator

torch = pytest.importorskip("torch", reason="needs the clinical extra: torch")
transformers = pytest.importorskip("transformers", reason="needs the clinical extra: transformers")

SENTENCES = [  # invented
    "The heart is normal in size.",
    "No focal consolidation, pleural effusion or pneumothorax is seen.",
    "There is mild atelectasis at the left base.",
    "A right chest tube is in place; its tip projects over the apex.",
    "Stable cardiomegaly with a small left effusion and XXXX opacity ___.",
    "Lungs are clear.",
]
AWKWARD = [
    "",
    "   \n ",
    "Normal.",
    "lungs   are    clear",
    "opacity " * 700,
    "effusion, " * 10_000,
    "clear 🫁🩻 lungs",
    "bell\x07 null\x00 escape\x1b text",
    "\x00\x01",
    "a </s> token and a [SEP]",
    "XXXX ___ XXXX",
    "half a pair \ud83e of surrogates",
]


def make_roberta(folder: Path) -> Path:
    """A random RoBERTa in the layout of distilroberta-base, with byte-pair tokens of its own."""
    from tokenizers import ByteLevelBPETokenizer

    tokens = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens.train_from_iterator(SENTENCES, vocab_size=400, special_tokens=special)
    folder.mkdir(parents=True)
    tokens.save_model(str(folder))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    config = transformers.RobertaConfig(
        vocab_size=tokens.get_vocab_size(),
        hidden_size=48,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=514,
        type_vocab_size=1,
        initializer_range=0.06,
    )
    torch.manual_seed(1)
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def make_distilbert(folder: Path) -> Path:
    """A random DistilBERT in the layout of distilbert-base-uncased, with word pieces."""
    from tokenizers import BertWordPieceTokenizer

    tokens = BertWordPieceTokenizer(lowercase=True)
    tokens.train_from_iterator(SENTENCES, vocab_size=300, min_frequency=1, show_progress=False)
    folder.mkdir(parents=True)
    tokens.save_model(str(folder))
    (folder / "tokenizer_config.json").write_text(
        '{"model_max_length": 512, "do_lower_case": true}'
    )
    config = transformers.DistilBertConfig(
        vocab_size=tokens.get_vocab_size(),
        dim=48,
        n_layers=6,
        n_heads=4,
        hidden_dim=96,
        initializer_range=0.06,
    )
    torch.manual_seed(2)
    transformers.DistilBertForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    return {
        "distilroberta-base": make_roberta(root / "distilroberta-base"),
        "distilbert-base-uncased": make_distilbert(root / "distilbert-base-uncased"),
    }


@pytest.fixture
def make(models, monkeypatch, tmp_path):
    """BertscoreAnnotator on the tiny weights; whatever it caches goes to a folder of the test."""
    monkeypatch.setenv("REPORTCARD_CACHE", str(tmp_path / "cache"))

    def build(model: str = "distilroberta-base", **options) -> BertscoreAnnotator:
        options = {"weights": str(models[model]), "device": "cpu", "store": None} | options
        return BertscoreAnnotator(model, **options)

    return build


def upstream(monkeypatch, folder: Path, pairs, idf=False, batch_size=64):
    """bert-score on a folder. Two repairs for transformers 5: it lost a tokenizer method that the
    package calls, and its tokenizers take add_prefix_space only when they are made."""
    pytest.importorskip("bert_score", reason="needs the clinical extra: bert-score")
    package = sys.modules["bert_score.score"]

    def tokenizer(path, use_fast=False):
        made = transformers.AutoTokenizer.from_pretrained(path, add_prefix_space=True)
        monkeypatch.setattr(
            type(made),
            "build_inputs_with_special_tokens",
            lambda self, ids: [self.cls_token_id, *ids, self.sep_token_id],
            raising=False,
        )
        return made

    monkeypatch.setattr(package, "get_tokenizer", tokenizer)
    found = package.score(
        [collapsed(candidate) for candidate, _ in pairs],
        [collapsed(reference) for _, reference in pairs],
        model_type=str(folder),
        num_layers=5,
        idf=idf,
        nthreads=0,
        device="cpu",
        batch_size=batch_size,
    )
    return torch.stack(found, dim=1).double()


def collapsed(text: str) -> str:
    return " ".join(part for part in text.split(" ") if part)


def as_tensor(notes) -> torch.Tensor:
    return torch.tensor([[note["p"], note["r"], note["f"]] for note in notes]).double()
