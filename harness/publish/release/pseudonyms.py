"""What must not leave with a release: ids of closed data, paths of this machine, secrets.

A study id of data that is not open becomes an HMAC-SHA256 of it under a salt that is drawn once per
results folder and stays there (`release-salt`, for its owner alone), so that it is the same in all
files and in the next release, and nobody without the salt can try ids. Per-study digests of closed
cohorts are left out: who holds the data could compute them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reportcard.api import ReportCardError
from reportcard.core.files import read_text, write_atomic

SALT = "release-salt"
LEFT_OUT = "<left out>"
PATH = "<path>"
# Absolute: two parts or more after a blank, a quote, a bracket or at the start; no URL, no a/b.
ABSOLUTE = re.compile(
    r"(?<![\w:/.~-])(?:file://)?(?:/[^\s/'\"`<>|:,;()\[\]{}]+){2,}/?"
    r"|(?<!\w)~/[^\s'\"`<>|,;()]+"
    r"|(?<!\w)[A-Za-z]:\\[^\s'\"`<>|,;()]+"
)
SECRET = re.compile(
    r"(api_?key|token|secret|password|credential|base_url|endpoint|api_base)$", re.I
)
WORD = re.compile(r"[\w.@-]+")
LONG_ID = 6  # a shorter one ("12") stands in too many words that are none


def salt_of(results_dir: Path) -> bytes:
    """The salt of a results folder, drawn when there is none."""
    path = results_dir / SALT
    if not path.is_file():
        write_atomic(path, secrets.token_hex(32) + "\n", 0o600)
    text = read_text(path).strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ReportCardError(
            f"{path} is damaged. Delete it: the next release gets new pseudonyms."
        )
    return bytes.fromhex(text)


def pseudonyms(ids: Iterable[str], salt: bytes) -> dict[str, str]:
    """Study id → `x` and 20 hexadecimal digits."""
    return {
        name: f"x{hmac.new(salt, name.encode('utf-8'), hashlib.sha256).hexdigest()[:20]}"
        for name in ids
    }


class Scrub:
    """Values as they may be published.

    ids: pseudonyms of closed data. digests: strings to replace whole (digests of rewritten files).
    """

    def __init__(
        self, results_dir: Path, ids: Mapping[str, str], digests: Mapping[str, str] | None = None
    ) -> None:
        self._ids, self._digests = ids, digests if digests is not None else {}
        self._long = {
            name: other
            for name, other in ids.items()
            if len(name) >= LONG_ID and any(c.isdigit() for c in name)
        }
        places = (results_dir.absolute(), results_dir.resolve(), Path.cwd(), Path.home())
        roots = {str(p) for p in (*places, Path(tempfile.gettempdir()))} - {"/"}
        self._roots = sorted(roots, key=len, reverse=True)

    def value(self, node: Any, everywhere: bool = False) -> Any:
        """everywhere: short ids too, as below `unscored`, whose keys are ids."""
        if isinstance(node, str):
            return self.text(node, everywhere)
        if isinstance(node, list):
            return [self.value(item, everywhere) for item in node]
        if not isinstance(node, dict):
            return node
        found = {}
        for key, item in node.items():
            hidden = SECRET.search(key) and isinstance(item, str) and item
            inside = everywhere or key == "unscored"
            found[self.text(key, everywhere)] = LEFT_OUT if hidden else self.value(item, inside)
        return found

    def text(self, text: str, everywhere: bool = False) -> str:
        if text in self._digests:
            return self._digests[text]
        for root in self._roots:
            # With what follows: a folder's name may say as much as the folder above it.
            text = re.sub(re.escape(root) + r"(?:/[^\s'\"`<>|:,;()\[\]{}]*)?", PATH, text)
        text = ABSOLUTE.sub(PATH, text)
        ids = self._ids if everywhere else self._long
        if not ids:
            return text
        return ids.get(text) or WORD.sub(lambda m: self._word(m[0], ids), text)

    @staticmethod
    def _word(word: str, ids: Mapping[str, str]) -> str:
        bare = word.rstrip(".")
        return ids[bare] + word[len(bare) :] if bare in ids else word
