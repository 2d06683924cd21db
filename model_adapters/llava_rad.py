"""LLaVA-Rad (BioMedCLIP-CXR, a two-layer projector, Vicuna-7B with LoRA): findings of one frontal.

Zambrano Chaves et al. 2025, "A clinically accessible small multimodal radiology model"; weights
microsoft/llava-rad and lmsys/vicuna-7b-v1.5. Ported from microsoft/LLaVA-Rad and compared with it
on random weights (docs/models/llava_rad.md); we loaded no real weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reportcard.api import ModelCard, ReportCardError
from reportcard.core.files import read_json
from reportcard.model_adapters._shared.frontal_findings import FrontalFindings
from reportcard.model_adapters._shared.local_weights import locate_if_here, missing_packages
from reportcard.model_adapters._shared.preflight import (
    check_device,
    count_parameters,
    memory_problem_of,
)
from reportcard.model_adapters._shared.sentencepiece_model import SentencePieceModel
from reportcard.models.checkpoints import Checkpoint, fetch, weights_identity
from reportcard.models.staged import decoding_of

if TYPE_CHECKING:
    from reportcard.model_adapters._shared.vision_llama import VisionLlama

OWN = (
    *("config.json", "biomedclipcxr_518.json", "biomedclipcxr_518_checkpoint.pt"),
    *("non_lora_trainables.bin", "adapter_model.bin", "adapter_config.json"),
)
BASE = ("config.json", "tokenizer.model")
# Fields of config.json, each with the only value that this port implements.
IMPLEMENTED = {
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_projector_type": "mlp2x_gelu",
    "mm_use_im_start_end": False,
}
SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "vocab_size"),
)


class LlavaRad(FrontalFindings):
    """LlavaRad adds its LoRA to the weights of `base`, Vicuna-7B-v1.5, and takes its tokenizer.

    base    a folder, or a Hugging Face id at a commit
    """

    paper_dtype = "float16"
    name = "LLaVA-Rad"
    new_tokens = 256
    # OpenAI CLIP's values, which open_clip uses for a model config that it does not know.
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    crop = "round"  # torchvision, in open_clip's validation transform
    base_card = ModelCard(
        "LLaVA-Rad: BioMedCLIP-CXR (DINOv2 ViT-B/14, 518 px) and Vicuna-7B with LoRA",
        inputs=("frontal", "indication"),
        licence="Microsoft Research licence, research only; LLaMA 2 and Vicuna terms",
        trained_on=("MIMIC-CXR (findings in part rewritten by GPT-4)",),
        url="https://huggingface.co/microsoft/llava-rad",
        needs_pixels=True,
    )

    def __init__(self, base: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.base = base

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "weights": weights_identity(self.weights),
            "base": weights_identity(self.base),
            "prompt": 1,
            "pixels": 1,
            **decoding_of(self),
        }

    def missing(self) -> str | None:
        if self._network:
            return None
        try:
            if problem := missing_packages():
                return problem
            own = locate_if_here(self.weights, OWN)
            base = locate_if_here(self.base, BASE, "model.base")
            return self._mismatch(own, base) or self._memory_problem(own, base)
        except ReportCardError as error:
            return str(error)

    def load_network(self) -> VisionLlama:
        if problem := missing_packages():
            raise ReportCardError(problem)
        own = fetch(self.weights or "", OWN)
        base = fetch(self.base or "", BASE, "model.base")
        if problem := self._mismatch(own, base) or self._memory_problem(own, base):
            raise ReportCardError(problem)
        from reportcard.model_adapters._llava_rad import load

        network = load(self, own, base)
        self._tokenizer_model = SentencePieceModel(base.path("tokenizer.model"))
        return network

    def tokenizer_places(self) -> Sequence[tuple[str | None, str]]:
        return [(self.base, "model.base"), (self.weights, "model.weights")]

    def _mismatch(self, own: Checkpoint | None, base: Checkpoint | None) -> str | None:
        """Return why this port or the base model does not fit config.json, or None."""
        if base and not any(
            [*base.folder.glob("*.safetensors"), *base.folder.glob("pytorch_model*.bin")]
        ):
            return f"model.base: {base.folder} has no pytorch_model*.bin and no *.safetensors."
        if own is None:
            return None
        config = read_json(own.path("config.json"))
        for name, value in IMPLEMENTED.items():
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

    def _memory_problem(self, own: Checkpoint | None, base: Checkpoint | None) -> str | None:
        """Return why the model does not fit on the GPU, or None. Raises for an unknown device."""
        check_device(self)
        if own is None or base is None:
            return None
        from reportcard.model_adapters._llava_rad import BASE_FILES

        files = next((found for p in BASE_FILES if (found := list(base.folder.glob(p)))), [])
        # LoRA, vision encoder and projector add less than 2 %, which the estimate's margin covers.
        config = read_json(base.path("config.json"))
        count = sum(map(count_parameters, files))
        return memory_problem_of(self, count, config, self.longest_request)
