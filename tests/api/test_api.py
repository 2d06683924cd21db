"""`reportcard.api` is complete, cheap to import, and its data crosses processes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import is_dataclass

import numpy as np
import pytest

import reportcard.api as api
from reportcard.api import cards, plugins, study


@pytest.mark.parametrize("module", [study, cards, plugins])
def test_every_public_name_is_exported(module: object) -> None:
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (getattr(value, "__module__", None) == module.__name__ or name.isupper())  # type: ignore[attr-defined]
    }
    assert own <= set(api.__all__)


def test_nothing_beside_numpy_is_imported() -> None:
    code = (
        "import sys, reportcard.api;"
        "print(sorted({n.partition('.')[0] for n in sys.modules}"
        " & {'torch', 'pydicom', 'PIL', 'hydra', 'omegaconf', 'rich', 'mlflow', 'sklearn'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_data_is_frozen_and_can_be_pickled() -> None:
    request = api.Request("s1", (api.Image("i1", "PA"),), api.Prior(report=api.Report("Clear.")))
    whole = api.Study(request, api.Report("Clear.", phrases=(api.Phrase("Clear."),)), "p1")
    assert pickle.loads(pickle.dumps(whole)) == whole
    for name in api.__all__:
        value = getattr(api, name)
        if isinstance(value, type) and is_dataclass(value):
            assert value.__dataclass_params__.frozen, name  # type: ignore[attr-defined]


@pytest.mark.parametrize("corners", [(0.5, 0, 0.5, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.1)])
def test_a_box_lies_in_its_image(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="not a box"):
        api.Box(*corners)


def test_floats_survive_a_note_exactly() -> None:
    values = np.array([0.1, -3.5, 1e-30], np.float32)
    assert (api.unpack_floats(api.pack_floats(values)) == values).all()
