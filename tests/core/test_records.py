"""Records: a dataclass is what its JSON says, and says the same JSON again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from reportcard.api import Json
from reportcard.core.records import OMITTED, from_json, named, omitted_without, to_json


@dataclass(frozen=True)
class Inner:
    value: float | None
    draws: int | None = field(default=None, metadata=OMITTED)
    spread: float | None = field(default=None, metadata=omitted_without("draws"))


@dataclass(frozen=True)
class Outer:
    name: str
    cells: Mapping[str, Inner]
    items: tuple[Inner, ...] = field(metadata=named("rows"))
    range: tuple[float | None, float | None] = (None, None)
    more: Json = field(default_factory=dict)


SAVED: Json = {
    "name": "a",
    "cells": {"x": {"value": 1}, "y": {"value": None, "draws": 3, "spread": None}},
    "rows": [{"value": 0.5}],
    "range": [0.0, None],
    "more": {"free": [1, {"form": None}]},
}


def test_what_was_read_is_written_again() -> None:
    found = from_json(Outer, SAVED)
    assert found.items == (Inner(0.5),)
    assert found.cells["y"] == Inner(None, 3)
    assert found.range == (0.0, None)
    assert to_json(found) == SAVED
    assert list(to_json(found)) == list(SAVED)
    assert isinstance(to_json(found)["cells"]["x"]["value"], int)  # no number changes its spelling


def test_keys_that_nobody_reads_are_ignored_and_defaults_fill_in() -> None:
    found = from_json(Outer, {"name": "a", "cells": {}, "rows": [], "unknown": 1})
    assert found == Outer("a", {}, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": None}, "cells is not an object"),
        ({"cells": {"x": 3}}, "cells.x is not an object"),
        ({"cells": {"x": {}}}, "no cells.x.value"),
        ({"rows": {"value": 1}}, "rows is not a list"),
        ({"rows": [None]}, r"rows\[0\] is not an object"),
        ({"range": [1.0]}, "range is not a list of 2"),
    ],
)
def test_another_shape_names_the_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(Outer, SAVED | change)


def test_an_absent_key_is_named() -> None:
    with pytest.raises(ValueError, match="no rows"):
        from_json(Outer, {"name": "a", "cells": {}})
