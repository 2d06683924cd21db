"""A tiny random Llama whose every token matters: width 64, two layers, 700 pieces."""

from __future__ import annotations

from typing import Any

from tests.models.checkpoints.tokenizer import PIECES


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
