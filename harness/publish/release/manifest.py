"""Describes MANIFEST.json, the list of a release's files with their digests and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reportcard.api import Json
from reportcard.core.environment import git_state
from reportcard.core.files import file_digest, read_json, write_json
from reportcard.core.records import from_json, to_json
from reportcard.core.version import __version__

MANIFEST = "MANIFEST.json"
RELEASE_VERSION = 1


@dataclass(frozen=True, slots=True)
class ReleasedFile:
    """The digest of a file and its size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of MANIFEST.json. `files` has relative names; `code` says what wrote them."""

    release: int
    code: Json
    files: Mapping[str, ReleasedFile]

    @classmethod
    def of_folder(cls, folder: Path) -> Manifest:
        """List every file that is in the folder now."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {
            path.relative_to(folder).as_posix(): ReleasedFile(
                file_digest(path), path.stat().st_size
            )
            for path in paths
        }
        code: Json = {"reportcard": __version__, "git": git_state(Path(__file__).parent)}
        return cls(RELEASE_VERSION, code, files)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a release. Raises ValueError where it has another form."""
        return from_json(cls, read_json(folder / MANIFEST))

    def write(self, folder: Path) -> None:
        """Write the manifest, as the last file: a folder without it is not a release."""
        write_json(folder / MANIFEST, to_json(self))
