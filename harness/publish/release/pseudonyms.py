"""Replaces what a release must not contain: ids of closed data, paths of this machine, secrets.

A study id of closed data is replaced by its HMAC-SHA256 under a salt. The salt is drawn once per
results folder and stays there (`release-salt`, readable by its owner only). So an id has the same
pseudonym in all files and in the next release, and nobody without the salt can find it by trying
ids. Per-study digests of closed cohorts are left out, because whoever holds the data could compute
them.
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
from reportcard.core.layout import Results

LEFT_OUT = "<left out>"
PATH = "<path>"
# An absolute path has two parts or more, and follows a blank, a quote, a bracket or the start of
# the text; URLs and a/b are no paths.
ABSOLUTE = re.compile(
    r"(?<![\w:/.~-])(?:file://)?(?:/[^\s/'\"`<>|:,;()\[\]{}]+){2,}/?"
    r"|(?<!\w)~/[^\s'\"`<>|,;()]+"
    r"|(?<!\w)[A-Za-z]:\\[^\s'\"`<>|,;()]+"
)
SECRET = re.compile(
    r"(api_?key|token|secret|password|credential|base_url|endpoint|api_base)$", re.I
)
WORD = re.compile(r"[\w.@-]+")
LONG_ID = 6  # letters; a shorter id ("12") occurs in too many words that are no ids


def salt_of(results_dir: Path) -> bytes:
    """Return the salt of a results folder; draw one if there is none."""
    path = Results(results_dir).release_salt
    if not path.is_file():
        write_atomic(path, secrets.token_hex(32) + "\n", 0o600)
    text = read_text(path).strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ReportCardError(
            f"{path} is damaged. Delete it: the next release gets new pseudonyms."
        )
    return bytes.fromhex(text)


def pseudonyms(ids: Iterable[str], salt: bytes) -> dict[str, str]:
    """Return each study id with its pseudonym, `x` and 20 hexadecimal digits."""
    return {
        name: f"x{hmac.new(salt, name.encode('utf-8'), hashlib.sha256).hexdigest()[:20]}"
        for name in ids
    }


class Scrub:
    """Rewrites JSON values and texts so that they may be published.

    Args:
        results_dir: the results folder; paths below it are replaced.
        ids: study id → pseudonym, of closed data.
        digests: whole strings to replace, for digests of files that the release rewrites.
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
        """Rewrite a JSON value.

        everywhere: also replace short ids; the value of `unscored` has ids as its keys.
        """
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
        """Rewrite a text; see `value`."""
        if text in self._digests:
            return self._digests[text]
        for root in self._roots:
            # The rest of the path goes too: names of subfolders may say as much.
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
