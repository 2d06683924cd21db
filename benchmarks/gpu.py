"""Measure a 7B LLaVA-shaped model on one CUDA GPU: speed, and its share of the roofline bound.

    python -m benchmarks.gpu [--tiny]

The model has random weights of the true shapes (ViT-B/14 at 518 px: 1,369 image tokens; Llama 7B)
in bfloat16 and writes 150 new tokens per phantom study. Four ways are measured in one run: plain
generate one by one, upstream's batch of 8, and our engine with a dynamic and with a static cache.
Targets: 15 times the speed of one by one, and the 2,461 studies of MIMIC-CXR in ten minutes on an
H100. `--tiny` runs the same code with a tiny model on a CPU, to see that it works.

Roofline: decoding reads all weights and the KV cache once per step, so it takes at least
bytes / bandwidth; prefill does 2 × parameters × tokens operations. Peaks: NVIDIA's H100 SXM data
sheet, 3.35 TB/s and 989 TFLOPS bfloat16 dense; H200 4.8 TB/s, same TFLOPS.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reportcard.api import ModelCard, Prediction, Request
from reportcard.data.sources.phantom import Phantom
from reportcard.models.staged import Completion, Prepared, Prompt, StagedAdapter
from reportcard.models.views import frontal_of
from reportcard.predict.engines import local

MIMIC = 2461
PEAKS = {"H100": (3.35e12, 989e12), "H200": (4.8e12, 989e12)}
WORDS = 80  # prompt tokens besides those of the image


@dataclass(frozen=True)
class Shape:
    """The sizes of the measured model, and how many studies it answers."""

    size: int = 518
    patch: int = 14
    tower: tuple[int, int, int] = (768, 12, 12)  # width, layers, heads
    llm: tuple[int, int, int, int] = (4096, 11008, 32, 32)  # width, mlp, layers, heads
    vocabulary: int = 32_000
    new_tokens: int = 150
    studies: int = 256

    @property
    def image_tokens(self) -> int:
        return (self.size // self.patch) ** 2


TINY = Shape(56, 14, (64, 2, 1), (64, 128, 2, 2), 300, 20, 16)


class Random7B(StagedAdapter):
    """A model with random weights in the shape of LLaVA-Rad; each answer has new_tokens tokens."""

    def __init__(self, shape: Shape, device: str, batch_size: int, cache: str) -> None:
        super().__init__(None, shape.new_tokens, "auto", device, batch_size)
        self.shape, self.cache = shape, cache
        self.tokens_per_image = shape.image_tokens
        self.model: Any = None

    card = ModelCard("random weights, true shapes", needs_pixels=True)

    @property
    def identity(self) -> dict[str, Any]:
        return {"shape": repr(self.shape)}

    def missing(self) -> None:
        return None

    def prompt(self, request: Request) -> Prompt:
        ids = tuple(range(10, 10 + WORDS))
        return Prompt("", (frontal_of(request),), self.shape.new_tokens, ids, ("frontal",))

    def pixels(self, grey: Any) -> Any:
        import PIL.Image

        from reportcard.model_adapters._shared.pixels import centre_crop, shortest_edge, standardise

        image = shortest_edge(PIL.Image.fromarray(grey).convert("RGB"), self.shape.size, 3)
        return standardise(centre_crop(image, self.shape.size, "round"), [0.5] * 3, [0.25] * 3)

    def load(self) -> None:
        if self.model is not None:
            return
        import torch
        from transformers import Dinov2Config, Dinov2Model, LlamaConfig, LlamaForCausalLM

        from reportcard.model_adapters._shared.torch_runtime import (
            cast_parameters,
            device_of,
            dtype_of,
        )

        shape, device = self.shape, device_of(self)
        width, layers, heads = shape.tower
        dim, mlp, depth, llm_heads = shape.llm
        torch.manual_seed(0)
        with torch.device(device):
            tower = Dinov2Model(
                Dinov2Config(
                    hidden_size=width,
                    num_hidden_layers=layers,
                    num_attention_heads=heads,
                    image_size=shape.size,
                    patch_size=shape.patch,
                )
            )
            projector = torch.nn.Sequential(
                torch.nn.Linear(width, dim), torch.nn.GELU(), torch.nn.Linear(dim, dim)
            )
            self.model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=shape.vocabulary,
                    hidden_size=dim,
                    intermediate_size=mlp,
                    num_hidden_layers=depth,
                    num_attention_heads=llm_heads,
                    max_position_embeddings=4096,
                )
            )
        self.tower, self.projector = tower, projector
        for module in (tower, projector, self.model):
            cast_parameters(module.eval(), dtype_of(self))

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        import torch

        from reportcard.model_adapters._shared.image_features import ImageFeatureCache
        from reportcard.model_adapters._shared.torch_runtime import device_of

        device = device_of(self)
        dtype = next(self.projector.parameters()).dtype

        def encode(pixels: Any) -> Any:
            hidden = self.tower(pixels.to(dtype)).last_hidden_state[:, 1:]
            return self.projector(hidden)

        with torch.inference_mode():
            features = ImageFeatureCache(self).of(batch, encode, device)
            words = torch.tensor(batch[0].prompt.ids, device=device)
            text = self.model.get_input_embeddings()(words)
            rows = torch.stack([torch.cat([text[:40], f[0], text[40:]]) for f in features])
            out = self.model.generate(
                inputs_embeds=rows,
                attention_mask=torch.ones(rows.shape[:2], device=device, dtype=torch.long),
                do_sample=False,
                min_new_tokens=self.shape.new_tokens,
                max_new_tokens=self.shape.new_tokens,
                pad_token_id=0,
                cache_implementation="static" if self.cache == "static" else None,
            )
        return [Completion(" ", tuple(ids), True, rows.shape[1]) for ids in out.tolist()]


def measured(model: Random7B, requests: list[Request]) -> float:
    """Return studies per second, measured after one batch that warms up."""
    model.generate(requests[: model.batch_size])
    began = time.perf_counter()
    answers: list[Prediction] = []
    for batch in local.generate(model, requests, model.batch_size, True):
        answers += batch
    failed = [a.error for a in answers if a.status == "failed"]
    if failed:
        raise SystemExit(f"{len(failed)} of {len(answers)} studies failed: {failed[0]}")
    return len(requests) / (time.perf_counter() - began)


def bounds(shape: Shape, batch: int, peaks: tuple[float, float]) -> tuple[float, float]:
    """Return the least seconds per batch: decoding by bandwidth, prefill by operations.

    `peaks` are the GPU's bytes per second and operations per second.
    """
    width, mlp, layers, _ = shape.llm
    parameters = layers * (4 * width * width + 3 * width * mlp) + shape.vocabulary * width
    prompt = shape.image_tokens + WORDS
    cache = 2 * layers * width * 2 * (prompt + shape.new_tokens / 2) * batch
    decode = shape.new_tokens * (2 * parameters + cache) / peaks[0]
    prefill = 2 * parameters * prompt * batch / peaks[1]
    return decode, prefill


def main() -> None:
    tiny = "--tiny" in sys.argv
    if importlib.util.find_spec("torch") is None:
        return print("not run: torch is not installed (pip install 'cxr-reportcard[gpu]')")
    import torch

    if not torch.cuda.is_available() and not tiny:
        return print("not run: no CUDA GPU here (--tiny shows on a CPU that the code works)")
    shape, device = (TINY, "cpu") if tiny else (Shape(), "cuda")
    name = "CPU" if tiny else torch.cuda.get_device_name()
    best = 8 if tiny else 64
    studies = Phantom(test=shape.studies, train=0).select().test
    requests = [study.request for study in studies]
    print(f"{name}, torch {torch.__version__}; {shape.studies} phantom studies,"
          f" {shape.image_tokens} image tokens, {shape.new_tokens} new tokens")  # fmt: skip
    peaks = next((p for key, p in PEAKS.items() if key in name), None)
    rows: list[tuple[str, int, str, int]] = [
        ("plain generate, one by one", 1, "dynamic", 16),
        ("batch of 8, as upstream", 8, "dynamic", 64),
        ("engine, dynamic cache", best, "dynamic", shape.studies),
        ("engine, static cache", best, "static", shape.studies),
    ]
    base, first = 0.0, None
    for label, batch, cache, count in rows:
        model = Random7B(shape, device, batch, cache)
        if first is not None:  # all ways share one set of weights
            model.model, model.tower, model.projector = first
        model.load()
        first = (model.model, model.tower, model.projector)
        rate = measured(model, requests[: min(count, len(requests))])
        base = base or rate
        line = f"{label:<28} {rate:8.2f} studies/s  {rate * shape.new_tokens:9.0f} tokens/s"
        line += f"  {rate / base:5.1f} ×"
        if not tiny:
            line += f"  MIMIC-CXR in {MIMIC / rate / 60:6.1f} min"
        if peaks:
            decode, prefill = bounds(shape, batch, peaks)
            line += f"  {rate * (decode + prefill) / batch:5.1%} of the roofline"
        print(line, flush=True)
    if not tiny:
        peak = np.round(torch.cuda.max_memory_allocated() / 2**30, 1)
        print(f"peak memory {peak} GiB; targets: 15 ×, and MIMIC-CXR in under 10 min on one H100")


if __name__ == "__main__":
    main()
