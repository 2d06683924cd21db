"""LLaVA-Rad: BioMedCLIP-CXR, a two-layer projector, Vicuna-7B with LoRA. Findings of one frontal.

Zambrano Chaves et al. 2025, "A clinically accessible small multimodal radiology model"; weights
microsoft/llava-rad and lmsys/vicuna-7b-v1.5. Ported from microsoft/LLaVA-Rad and compared with it
on random weights (docs/models/llava_rad.md); no real weight was loaded by us.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from reportcard.api import ModelCard, ReportCardError, Request
from reportcard.core.files import read_json
from reportcard.model_adapters import _one_frontal as one_frontal
from reportcard.model_adapters._checkpoint import (
    here,
    identity_of,
    packages_problem,
    pieces_of,
    revision_of,
)
from reportcard.model_adapters._llava import ids_with_images
from reportcard.model_adapters._pixels import centre_crop, shortest_edge, standardise
from reportcard.model_adapters._preflight import parameters, too_large
from reportcard.model_adapters._sentencepiece import Pieces
from reportcard.models.checkpoints import Checkpoint, fetch
from reportcard.models.staged import Completion, Prepared, Prompt, StagedAdapter, decoding_of
from reportcard.models.views import frontal_of

if TYPE_CHECKING:
    from reportcard.model_adapters._spliced import SplicedLlama

OWN = (
    *("config.json", "biomedclipcxr_518.json", "biomedclipcxr_518_checkpoint.pt"),
    *("non_lora_trainables.bin", "adapter_model.bin", "adapter_config.json"),
)
BASE = ("config.json", "tokenizer.model")
# OpenAI CLIP's, which open_clip takes for a model config of one's own.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TEXT_TOKENS = 256  # a long indication, for the estimate of memory
# config.json → the one value that this port is written for.
WRITTEN_FOR = {
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_projector_type": "mlp2x_gelu",
    "mm_use_im_start_end": False,
}
SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "vocab_size"),
)


class LlavaRad(StagedAdapter):
    """base: folder or hub id of Vicuna-7B-v1.5, which the LoRA is added to; its tokenizer too."""

    paper_dtype = "float16"
    tokens_per_image = 1369

    def __init__(self, base: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.base = base
        self._pieces: Pieces | None = None
        self._network: SplicedLlama | None = None

    @property
    def card(self) -> ModelCard:
        return ModelCard(
            "LLaVA-Rad: BioMedCLIP-CXR (DINOv2 ViT-B/14, 518 px) and Vicuna-7B with LoRA",
            inputs=("frontal", "indication"),
            weights=identity_of(self.weights),
            revision=revision_of(self.weights),
            licence="Microsoft Research licence, research only; LLaMA 2 and Vicuna terms",
            trained_on=("MIMIC-CXR (findings in part rewritten by GPT-4)",),
            url="https://huggingface.co/microsoft/llava-rad",
            needs_pixels=True,
            draws=self.sampling.draws if self.sampling else 1,
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "weights": identity_of(self.weights),
            "base": identity_of(self.base),
            "prompt": 1,
            "pixels": 1,
            **decoding_of(self),
        }

    def missing(self) -> str | None:
        if self._network:
            return None
        try:
            if problem := packages_problem():
                return problem
            own, base = here(self.weights, OWN), here(self.base, BASE, "model.base")
            return self._misfit(own, base) or self._too_large(own, base)
        except ReportCardError as error:
            return str(error)

    def prompt(self, request: Request) -> Prompt:
        one_frontal.check_task(request, "LLaVA-Rad")
        image = frontal_of(request)
        text = one_frontal.findings_prompt(request.indication)
        pieces = self._tokenizer()
        return Prompt(
            text,
            (image,),
            self.max_new_tokens or 256,
            ids_with_images(pieces, text, images=1) if pieces else None,
            one_frontal.used(request),
            one_frontal.left_out(request, image, "LLaVA-Rad"),
        )

    def pixels(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """open_clip's validation transform; three equal channels are scaled as one."""
        image = shortest_edge(PIL.Image.fromarray(grey), 518, PIL.Image.Resampling.BICUBIC)
        return standardise(centre_crop(image, 518, "round"), MEAN, STD)

    def load(self) -> None:
        if self._network:
            return
        if problem := packages_problem():
            raise ReportCardError(problem)
        own = fetch(self.weights or "", OWN)
        base = fetch(self.base or "", BASE, "model.base")
        if problem := self._misfit(own, base) or self._too_large(own, base):
            raise ReportCardError(problem)
        from reportcard.model_adapters._llava_rad import load

        self._network = load(self, own, base)
        self._pieces = Pieces(base.path("tokenizer.model"))

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        assert self._network is not None
        return self._network.complete(batch)

    def close(self) -> None:
        if self._network:
            self._network = None
            self.free()

    def _tokenizer(self) -> Pieces | None:
        """The base model's; None where it is not here yet."""
        if self._pieces is None:
            self._pieces = pieces_of((self.base, "model.base"), (self.weights, "model.weights"))
        return self._pieces

    def _misfit(self, own: Checkpoint | None, base: Checkpoint | None) -> str | None:
        """What config.json says against this port, or against the base model."""
        if base and not any(
            [*base.folder.glob("*.safetensors"), *base.folder.glob("pytorch_model*.bin")]
        ):
            return f"model.base: {base.folder} has no pytorch_model*.bin and no *.safetensors."
        if own is None:
            return None
        config = read_json(own.path("config.json"))
        for name, value in WRITTEN_FOR.items():
            if config.get(name, value) != value:
                said = f"{own.folder}: config.json has {name} {config[name]}"
                return f"{said}; this port is written for {value}."
        vision = read_json(own.path("biomedclipcxr_518.json"))
        vision = vision.get("model_cfg", vision).get("vision_cfg", {})
        if vision.get("image_size", 518) != 518:
            return f"{own.folder}: images of {vision['image_size']} pixels and not 518."
        if base is None:
            return None
        other = read_json(base.path("config.json"))
        for name in SIZES:
            if name in config and name in other and config[name] != other[name]:
                return (
                    f"model.base: {base.folder} has {name} {other[name]} where LLaVA-Rad has"
                    f" {config[name]}: another model. It needs Vicuna-7B-v1.5."
                )
        return None

    def _too_large(self, own: Checkpoint | None, base: Checkpoint | None) -> str | None:
        from reportcard.model_adapters._torch import device_of

        device_of(self)
        if own is None or base is None:
            return None
        from reportcard.model_adapters._llava_rad import BASE_FILES

        files = next((found for p in BASE_FILES if (found := list(base.folder.glob(p)))), [])
        tokens = self.tokens_per_image + TEXT_TOKENS + (self.max_new_tokens or 256)
        # LoRA, tower and projector are below two hundredths, left to the margin of the estimate.
        config = read_json(base.path("config.json"))
        return too_large(self, sum(map(parameters, files)), config, tokens)
