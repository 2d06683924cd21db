"""A tiny checkpoint with code of its own (auto_map), and the adapter and worker that run it.

Written with the standard library and NumPy, so that the parent needs neither torch nor
transformers. The class is ours; it says a word per step from the means of four image quarters.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

WORDS = ("clear", "effusion", "opacity", "normal", "enlarged", ".")

CONFIGURATION = """
from transformers import PretrainedConfig


class ToyConfig(PretrainedConfig):
    model_type = "reportcard_toy"

    def __init__(self, words=(), **kwargs):
        self.words = list(words)
        super().__init__(**kwargs)
"""

MODELLING = """
import torch
from transformers import PreTrainedModel

from .configuration_toy import ToyConfig


class ToyModel(PreTrainedModel):
    config_class = ToyConfig

    def __init__(self, config):
        super().__init__(config)
        self.see = torch.nn.Linear(4, 8)
        self.say = torch.nn.Linear(8, len(config.words))
        self.post_init()

    @torch.inference_mode()
    def speak(self, image, steps):
        halves = [half.chunk(2, -1) for half in image.float().chunk(2, -2)]
        means = torch.stack([quarter.mean() for half in halves for quarter in half])
        state = self.see(means.sin())
        said = []
        for _ in range(steps):
            said.append(int(self.say(state.tanh()).argmax()))
            state = state.roll(1) * 1.5
        return " ".join(self.config.words[i] for i in said)
"""

WORKER = """
import numpy as np
import torch
from PIL import Image
from transformers import AutoModel


def load(settings):
    print("loading on the first stdout")
    model = AutoModel.from_pretrained(settings["weights"], trust_remote_code=True)
    return model.to(getattr(torch, settings["dtype"])).eval(), settings["max_new_tokens"]


def answer(state, tasks):
    model, steps = state
    found = []
    for task in tasks:
        pixels = torch.from_numpy(np.array(Image.open(task["images"][0])))
        found.append({"text": model.speak(pixels, steps), "tokens_out": steps})
    return found
"""

ADAPTER = """
from pathlib import Path

from reportcard.api import ModelCard
from reportcard.models.isolated.adapter import IsolatedAdapter, Task
from reportcard.models.views import frontal_of


class RemoteToy(IsolatedAdapter):
    worker = Path(__file__).parent / "toy" / "worker.py"
    requirements = Path(__file__).parent / "toy" / "requirements.txt"
    needs = ("config.json", "model.safetensors")
    paper_tokens = 6

    @property
    def card(self):
        return ModelCard("A toy with code of its own", needs_pixels=True)

    def task(self, request):
        return Task(images=(frontal_of(request),), used=("frontal",))
"""


def write_checkpoint(folder: Path) -> Path:
    """A folder as `save_pretrained` of a remote-code model leaves it."""
    folder.mkdir(parents=True)
    config = {
        "architectures": ["ToyModel"],
        "auto_map": {
            "AutoConfig": "configuration_toy.ToyConfig",
            "AutoModel": "modeling_toy.ToyModel",
        },
        "model_type": "reportcard_toy",
        "words": WORDS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_toy.py").write_text(CONFIGURATION)
    (folder / "modeling_toy.py").write_text(MODELLING)
    random = np.random.default_rng(0)
    shapes = {
        "see.weight": (8, 4),
        "see.bias": (8,),
        "say.weight": (len(WORDS), 8),
        "say.bias": (len(WORDS),),
    }
    arrays = {name: random.normal(0, 3, shape).astype("<f4") for name, shape in shapes.items()}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, array in arrays.items():
        span = [end, end := end + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": span}
    head = json.dumps(header).encode()
    body = b"".join(array.tobytes() for array in arrays.values())
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + body)
    return folder


def write_plugin(folder: Path, requirements: str) -> Path:
    """remote_toy.py with its worker and requirements beside it."""
    (folder / "toy").mkdir(parents=True)
    (folder / "remote_toy.py").write_text(ADAPTER)
    (folder / "toy" / "worker.py").write_text(WORKER)
    (folder / "toy" / "requirements.txt").write_text(requirements)
    return folder / "remote_toy.py"
