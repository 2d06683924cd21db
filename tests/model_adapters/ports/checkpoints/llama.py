"""A tiny random Llama whose every token matters: width 64, two layers, 700 pieces; its tokenizer's
files in the two layouts that checkpoints come in, and tensors in shards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.model_adapters.ports.checkpoints.tokenizer import PIECES, tiny_sentencepiece


def tiny_llama_config(vocabulary: int = PIECES, **changes: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        **{
            "vocab_size": vocabulary,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 4096,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            # At the default 0.02 a random model repeats one token and equality proves nothing.
            "initializer_range": 0.3,
            **changes,
        }
    )


def tiny_llama(seed: int = 0, vocabulary: int = PIECES, **changes: Any) -> Any:
    """A LlamaForCausalLM in float32; `state_dict()` has the published names."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(tiny_llama_config(vocabulary, **changes)).eval()


def write_tokenizer(
    folder: Path, added: Sequence[str] = (), fast: bool = True, legacy: bool | None = None
) -> None:
    """tokenizer.model always; tokens added to it as added_tokens.json or inside a tokenizer.json.

    legacy: as in tokenizer_config.json; None leaves it out.
    """
    path = tiny_sentencepiece(folder)
    ids = {name: PIECES + n for n, name in enumerate(added)}
    config: dict[str, Any] = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "auto_map": {"AutoProcessor": "processing_nothing.Processor"},
        "added_tokens_decoder": {
            str(number): {"content": name, "normalized": False, "special": number < 3}
            for name, number in {"<unk>": 0, "<s>": 1, "</s>": 2, **ids}.items()
        },
    }
    if legacy is not None:
        config["legacy"] = legacy
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "added_tokens.json").write_text(json.dumps(ids))
    if fast:
        _write_fast(path, added, legacy is not False)


def _write_fast(path: Path, added: Sequence[str], legacy: bool) -> None:
    """LLaMA's tokenizer.json: the same pieces, merges in the order of their scores."""
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import BPE

    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    vocabulary = {model.id_to_piece(i): i for i in range(model.vocab_size())}
    merges = sorted(
        (vocabulary[piece], vocabulary[piece[:n]], vocabulary[piece[n:]], piece[:n], piece[n:])
        for piece in vocabulary
        for n in range(1, len(piece))
        if piece[:n] in vocabulary and piece[n:] in vocabulary
    )
    tokenizer = Tokenizer(
        BPE(
            vocabulary,
            [(left, right) for *_, left, right in merges],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    if legacy:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            replacement="▁", prepend_scheme="first", split=False
        )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(s, normalized=False, special=True) for s in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in added])
    tokenizer.save(str(path.with_name("tokenizer.json")))


def write_shards(folder: Path, state: Mapping[str, Any], shards: int) -> None:
    """model.safetensors, or shards of it with their index."""
    from safetensors.torch import save_file

    names = sorted(state)
    if shards == 1:
        save_file({n: state[n].contiguous() for n in names}, folder / "model.safetensors")
        return
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {n: state[n].contiguous() for n in names[shard::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    size = sum(t.numel() * t.element_size() for t in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def chain(state: dict[str, Any], prefix: str, tokens: Sequence[int]) -> None:
    """Makes a tiny Llama say these tokens one after another: each follows from the one before.

    Its layers still run, but hardly count, and the head looks for the last token's
    embedding.
    """
    import torch

    for name in state:
        if name.startswith(prefix) and ("o_proj" in name or "down_proj" in name):
            state[name] = state[name] / 1000
    table = state[f"{prefix}embed_tokens.weight"]
    head_name = next(name for name in state if name.endswith("lm_head.weight"))
    head = torch.zeros_like(state[head_name])
    for before, after in pairwise(tokens):
        head[after] = table[before]
    state[head_name] = head
