"""FrontalFindings is the base class of LLaVA-Rad and MAIRA-1.

Both read one frontal image and the indication in Vicuna's prompt, and scale the image to 518
pixels. They differ in the checkpoint, in the constants below, and in how the crop is rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import PIL.Image

from reportcard.api import Request
from reportcard.model_adapters._shared import vicuna_prompt
from reportcard.model_adapters._shared.image_tokens import ids_with_images
from reportcard.model_adapters._shared.local_weights import open_tokenizer
from reportcard.model_adapters._shared.pixels import centre_crop, shortest_edge, standardise
from reportcard.model_adapters._shared.sentencepiece_model import SentencePieceModel
from reportcard.model_adapters._shared.vision_llama_adapter import VisionLlamaAdapter
from reportcard.models.staged import Prompt
from reportcard.models.views import frontal_of

SIDE = 518
TEXT_TOKENS = 256  # of a long indication, to estimate memory


class FrontalFindings(VisionLlamaAdapter):
    """FrontalFindings builds the prompt and the pixels; a subclass reads the checkpoint.

    name        the model's name in messages
    new_tokens  the limit of the model's paper
    mean, std   of the three channels
    crop        how the margin of the centre crop is rounded (pixels.centre_crop)
    """

    name: ClassVar[str]
    new_tokens: ClassVar[int]
    mean: ClassVar[Sequence[float]]
    std: ClassVar[Sequence[float]]
    crop: ClassVar[Literal["round", "floor"]]

    tokens_per_image = 1369

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._tokenizer_model: SentencePieceModel | None = None

    @property
    def limit(self) -> int:
        """The number of new tokens of an answer at most."""
        return self.max_new_tokens or self.new_tokens

    @property
    def longest_request(self) -> int:
        """The tokens of a long request with its answer, to estimate memory."""
        return self.tokens_per_image + TEXT_TOKENS + self.limit

    def prompt(self, request: Request) -> Prompt:
        vicuna_prompt.check_task(request, self.name)
        image = frontal_of(request)
        text = vicuna_prompt.findings_prompt(request.indication)
        tokenizer = self.tokenizer()
        return Prompt(
            text,
            (image,),
            self.limit,
            ids_with_images(tokenizer, text, images=1) if tokenizer else None,
            vicuna_prompt.used_inputs(request),
            vicuna_prompt.left_out_inputs(request, image, self.name),
        )

    def pixels(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Scale the shorter side to 518 pixels, crop the centre, and standardise.

        The image becomes three equal channels, so it is scaled once.
        """
        image = shortest_edge(PIL.Image.fromarray(grey), SIDE, PIL.Image.Resampling.BICUBIC)
        return standardise(centre_crop(image, SIDE, self.crop), self.mean, self.std)

    def tokenizer(self) -> SentencePieceModel | None:
        """Return the tokenizer, or None if its file is not on this machine yet."""
        if self._tokenizer_model is None:
            self._tokenizer_model = open_tokenizer(*self.tokenizer_places())
        return self._tokenizer_model

    def tokenizer_places(self) -> Sequence[tuple[str | None, str]]:
        """Return where tokenizer.model may be: weights, each with the name of their option."""
        return [(self.weights, "model.weights")]
