"""VisionLlamaAdapter is the base class of ports that put image features into a Llama."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reportcard.models.staged import Completion, Prepared, StagedAdapter

if TYPE_CHECKING:
    from reportcard.model_adapters._shared.vision_llama import VisionLlama


class VisionLlamaAdapter(StagedAdapter):
    """VisionLlamaAdapter loads its network once, runs it, and frees it."""

    _network: VisionLlama | None = None

    @abstractmethod
    def load_network(self) -> VisionLlama:
        """Fetch the checkpoint and read the network. Raises ReportCardError."""

    def load(self) -> None:
        if self._network is None:
            self._network = self.load_network()

    def complete(self, batch: Sequence[Prepared]) -> list[Completion]:
        assert self._network is not None
        return self._network.complete(batch)

    def close(self) -> None:
        if self._network is not None:
            self._network = None
            self.free()
