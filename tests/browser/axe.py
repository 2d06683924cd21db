"""axe-core over an open page: what it finds of serious and critical barriers."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

RUN = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .filter((v) => ['serious', 'critical'].includes(v.impact))
  .map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(' | ')}`)"""


def barriers(page: Any) -> list[str]:
    # Evaluated and not added as an element: the page's own policy refuses foreign scripts.
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found: list[str] = page.evaluate(RUN)
    return found
