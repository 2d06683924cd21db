"""Prepares the pages for mkdocs (a hook of mkdocs.yml): the README becomes the first page.

README and pages are written for GitHub, where a link is relative to its file. On the site the
README is inside docs/, and files outside of docs/ have no page. Links to those become plain words
in code type, so that the strict build finds no broken link.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the README to the pages, as index.md."""
    from mkdocs.structure.files import File

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    # In links and pictures, docs/x.md becomes x.md.
    text = re.sub(r"\]\(docs/", "](", text)
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Replace links that lead outside of docs/.

    Args:
        markdown: the text of the page.
        page: the page.
        config: the configuration of the site.
        files: every page and picture of the site.
    """
    folder = posixpath.dirname(page.file.src_uri)

    def inside(match: re.Match[str]) -> str:
        words, target = match.groups()
        address = target.partition("#")[0]
        if "://" in target or not address:
            return match.group()
        path = posixpath.normpath(posixpath.join(folder, address))
        if files.get_file_from_path(path) is not None:
            return match.group()
        if files.get_file_from_path(f"{path}/README.md") is not None:
            return f"[{words}]({address.rstrip('/')}/README.md)"
        # A link of the README may start at the root. A link to nothing stays as it is, so that the
        # build fails.
        places = [ROOT / "docs" / path, *([ROOT / path] if page.file.src_uri == "index.md" else [])]
        if not any(place.exists() for place in places):
            return match.group()
        return words if words.startswith("`") else f"`{words}`"

    return LINK.sub(inside, markdown)
