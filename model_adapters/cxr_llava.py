"""CXR-LLaVA v2: one free report of one image, with no other input.

A port of ECOFRI/CXR-LLAVA-v2 without its remote code: CLIP ViT-L/16 at 512 pixels for one grey
channel → one linear layer → Llama-2-7B. CC-BY-NC and the Llama 2 licence. docs/models/cxr_llava.md
says what differs from upstream and what is unverified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from reportcard.api import ModelCard, ReportCardError, Request
from reportcard.core.files import digest, read_json
from reportcard.model_adapters._shared.image_tokens import IMAGE
from reportcard.model_adapters._shared.llama_tokenizer import SentencePieceTokenizer
from reportcard.model_adapters._shared.pixels import centre_crop, shortest_edge, standardise
from reportcard.model_adapters._shared.preflight import llama_config, preflight_problem
from reportcard.model_adapters._shared.vicuna_prompt import NO_MARKS, check_task
from reportcard.model_adapters._shared.vision_llama_adapter import VisionLlamaAdapter
from reportcard.models.checkpoints import fetch, locate, weights_identity
from reportcard.models.staged import Prompt, decoding_of
from reportcard.models.views import frontal_of, lateral_of, prior_frontal_of

if TYPE_CHECKING:
    from reportcard.model_adapters._shared.vision_llama import VisionLlama

NEEDS = ("config.json", "*.safetensors", "tokenizer.model")
SIDE = 512
SCALE = (0.5518136078431373, 0.3821719215686275)  # image_preprocess_cfg of the published config
NEW_TOKENS = 512  # the most that the helper allows
SYSTEM = (
    "You are a helpful radiologist. Try to interpret chest x ray image and answer to the question"
    " that user provides."
)
QUESTION = (
    "Write a radiologic report on the given chest radiograph, including information about"
    " atelectasis, cardiomegaly, consolidation, pulmonary edema, pleural effusion, and"
    " pneumothorax."
)
# Llama 2's template as transformers 4.36 fell back to it, since the tokenizer has none. Its <s> is
# text, and the tokenizer puts another before it: the ids begin 1, 1.
PROMPT = f"<s>[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\n<image>\n{QUESTION} [/INST]"
ALONE = "CXR-LLaVA is given one image and nothing else"


class CxrLlava(VisionLlamaAdapter):
    """CxrLlava decodes greedily.

    The authors' helper samples: model.sampling={temperature:0.2,top_p:0.8,draws:5}.
    """

    paper_dtype = "bfloat16"
    tokens_per_image = 1024
    base_card = ModelCard(
        "CXR-LLaVA v2 (CLIP ViT-L/16, Llama-2-7B): one free report of one image",
        inputs=("frontal",),
        licence="CC-BY-NC, Llama 2 licence",
        trained_on=("MIMIC-CXR", "several public CXR datasets"),
        url="https://huggingface.co/ECOFRI/CXR-LLAVA-v2",
        needs_pixels=True,
    )

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "weights": weights_identity(self.weights),
            "prompt": digest(PROMPT),
            "new_tokens": NEW_TOKENS,
            **decoding_of(self),
        }

    def missing(self) -> str | None:
        longest = self.tokens_per_image + 200 + (self.max_new_tokens or NEW_TOKENS)
        return preflight_problem(self, NEEDS, "llama", longest)

    def plan(self, requests: Sequence[Request]) -> None:
        for request in requests:
            check_task(request, "CXR-LLaVA")
        super().plan(requests)

    @cached_property
    def _folder(self) -> Path | None:
        """The checkpoint's folder, or None if it is not on this machine yet."""
        try:
            return locate(self.weights, ()).folder
        except ReportCardError:
            return None

    @cached_property
    def _ids(self) -> tuple[int, ...] | None:
        """The ids of the prompt, which is the same for every study."""
        if self._folder is None or not (self._folder / "tokenizer.model").is_file():
            return None
        tokens = SentencePieceTokenizer(self._folder)
        before, after = (tokens.encode(part) for part in PROMPT.split("<image>"))
        return (*before, IMAGE, *after[1:])  # upstream drops the second part's own bos

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Mean and standard deviation of grey values in [0, 1]."""
        path = self._folder / "config.json" if self._folder else None
        if path is None or not path.is_file():
            return SCALE
        given = read_json(path).get("image_preprocess_cfg")
        if given is None:
            return SCALE
        try:
            mean, std = (float(np.asarray(given[name]).item()) for name in ("mean", "std"))
        except (KeyError, TypeError, ValueError):
            raise ReportCardError(
                f"{path}: image_preprocess_cfg needs one mean and one std, not {given!r}."
            ) from None
        return mean, std

    def prompt(self, request: Request) -> Prompt:
        check_task(request, "CXR-LLaVA")
        frontal = frontal_of(request)
        others = {
            "lateral": lateral_of(request),
            "prior_image": prior_frontal_of(request),
            "prior_report": request.prior and request.prior.report,
            "indication": request.indication,
            "technique": request.technique,
            "comparison": request.comparison,
            "age": request.age,
            "sex": request.sex,
        }
        return Prompt(
            PROMPT,
            (frontal,),
            self.max_new_tokens or NEW_TOKENS,
            self._ids,
            ("frontal",),
            {name: ALONE for name, value in others.items() if value}
            | ({"marks": NO_MARKS} if request.marks else {}),
        )

    def pixels(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Scale the shorter side to 512 (Lanczos), crop the centre, standardise: (1, 512, 512).

        Upstream says resample=True, which is 1: Lanczos.
        """
        image = shortest_edge(PIL.Image.fromarray(grey), SIDE, PIL.Image.Resampling.LANCZOS)
        mean, std = self._scale
        return standardise(centre_crop(image, SIDE, "floor"), [mean], [std])

    def load_network(self) -> VisionLlama:
        folder = fetch(str(self.weights), NEEDS).folder
        for name in ("_folder", "_ids", "_scale"):  # they were computed before the download
            self.__dict__.pop(name, None)
        from reportcard.model_adapters._clip_vit import clip_vit
        from reportcard.model_adapters._shared.image_tokens import build_projector
        from reportcard.model_adapters._shared.torch_runtime import (
            cast_parameters,
            device_of,
            dtype_of,
            load_exactly,
            read_shards,
        )
        from reportcard.model_adapters._shared.vision_llama import (
            VisionLlama,
            build_llama,
            split_by_prefix,
        )

        what = str(folder)
        config = read_json(folder / "config.json")
        prefixes = ("vision_tower.", "mm_projector.", "llama.", "lm_head.")
        state = read_shards(folder, ["*.safetensors"])
        vision_state, projector_state, body, head = split_by_prefix(state, prefixes, what)
        vision = config.get("clip_vision_cfg") or {}
        if vision.get("image_size") != SIDE:
            raise ReportCardError(f"{what}: clip_vision_cfg has no image_size {SIDE}.")
        embedding = vision_state["proj"].shape[-1] if "proj" in vision_state else 0
        tower = clip_vit(vision, embedding, what)
        load_exactly(tower, vision_state, f"{what} (vision_tower)")
        cast_parameters(tower, dtype_of(self))
        tower.to(device_of(self)).eval()
        text = llama_config(config, "llama", what)
        projector = build_projector(
            {f"0.{name}": tensor for name, tensor in projector_state.items()},
            (int(vision["width"]), int(text.get("hidden_size", 4096))),
            dtype_of(self),
            f"{what} (mm_projector)",
        ).to(device_of(self))
        language = {f"model.{name}": tensor for name, tensor in body.items()}
        language |= {f"lm_head.{name}": tensor for name, tensor in head.items()}
        return VisionLlama(
            self,
            build_llama(text, language, self, what),
            lambda pixels: projector(tower(pixels)),
            SentencePieceTokenizer(folder),
            IMAGE,
        )
