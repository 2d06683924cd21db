"""Where a model's checkpoint lies: a folder, or a hub repository at a commit.

Only pinned commits are taken, since a branch name means other weights tomorrow. Files are looked
at before anything is loaded: what is absent, half downloaded or behind a gate is said in a
sentence, and no pickle is opened here.
"""

from __future__ import annotations

import json
import os
import re
import struct
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from reportcard.api import ReportCardError
from reportcard.core.files import digest, file_digest, read_json

HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})")
UNPINNED = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
UNREAD = ("README*", "LICENSE*", "LICENCE*", "*.MD")
PARTS = ("*.incomplete", "*.part", "*.tmp", "*.aria2", "*.crdownload")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with everything that `needs` named. `revision`: the commit, for a hub's."""

    folder: Path
    source: str
    revision: str | None = None

    def path(self, name: str) -> Path:
        return self.folder / name

    @property
    def identity(self) -> str:
        """What the weights are: repository and commit, or a digest over the folder's files, without
        what no model reads: hidden ones (.cache, .gitattributes), READMEs, licences, Markdown.
        A large file is hashed once and remembered by (size, time): 28 GB are read once per machine.
        """
        if self.revision:
            return self.source
        files = sorted(p for p in self.folder.rglob("*") if p.is_file())
        names = {str(p.relative_to(self.folder)): p for p in files}
        return "sha256:" + digest({n: _remembered_digest(p) for n, p in names.items() if _read(n)})


def _read(name: str) -> bool:
    """Whether a file of a checkpoint can decide what the model answers."""
    parts = Path(name).parts
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and not any(fnmatch(parts[-1].upper(), p) for p in UNREAD)


def locate(
    weights: str | None, needs: tuple[str, ...], option: str = "model.weights"
) -> Checkpoint:
    """The checkpoint that is named, if it is on this machine and whole; nothing is downloaded.

    needs: files or patterns ("*.safetensors") that must be there. `option` names it in the error.
    Raises ReportCardError: not given, not there, no pinned commit, a file missing or cut short.
    """
    if not weights:
        raise ReportCardError(
            f"no weights given: {option}=FOLDER, or a hub id at a commit,"
            f" {option}=org/name@<40 hex digits>"
        )
    folder = Path(weights).expanduser()
    if folder.is_dir():
        found = Checkpoint(folder, str(folder))
    elif folder.exists():
        raise ReportCardError(f"{option}: {folder} is a file; give the folder that holds it.")
    elif match := HUB_ID.fullmatch(weights):
        snapshot = cached(match["repo"], match["revision"])
        if snapshot is None:
            raise ReportCardError(
                f"{option}: {weights} is not in this machine's Hugging Face cache."
                f" Get it with: hf download {match['repo']} --revision {match['revision']}"
            )
        found = Checkpoint(snapshot, weights, match["revision"])
    elif UNPINNED.fullmatch(weights) and not weights.startswith((".", "/")):
        raise ReportCardError(
            f"{option}: there is no folder {weights}; as a hub id it needs a commit,"
            f" {weights.partition('@')[0]}@<40 hex digits>, because a branch moves."
        )
    else:
        raise ReportCardError(f"{option}: there is no folder {folder}.")
    check(found.folder, needs, option)
    return found


def fetch(weights: str, needs: tuple[str, ...], option: str = "model.weights") -> Checkpoint:
    """`locate`, and a download first where a pinned hub id is not in the cache yet.

    Raises ReportCardError for a gate without a token, an unknown repository or commit, no network.
    """
    match = HUB_ID.fullmatch(weights)
    if match and not Path(weights).exists():
        try:
            return locate(weights, needs, option)
        except ReportCardError:  # not in the cache, or a download that was stopped: go on with it
            _download(match["repo"], match["revision"], option)
    return locate(weights, needs, option)


def check(folder: Path, needs: tuple[str, ...], option: str) -> None:
    """Raises ReportCardError when a needed file is absent or a download was cut short."""
    names = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    half = sorted(n for n in names if any(fnmatch(Path(n).name, part) for part in PARTS))
    if half:
        raise ReportCardError(f"{option}: {folder} is half a download: {half[0]} is unfinished.")
    absent = [need for need in needs if not any(fnmatch(name, need) for name in names)]
    if absent:
        there = ", ".join(sorted(names)[:8]) or "nothing"
        raise ReportCardError(
            f"{option}: {folder} lacks {', '.join(absent)}; there is {there}. Is it the right"
            " folder, and the whole download?"
        )
    for name, path in names.items():
        if name.endswith(".index.json"):
            _check_index(path, option)
        elif name.endswith(".safetensors"):
            safetensors_shapes(path, option)


def _check_index(path: Path, option: str) -> None:
    index = read_json(path)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    shards = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()
    if not shards or any(shard != Path(shard).name for shard in shards):
        raise ReportCardError(
            f"{option}: {path} names no shards, or shards outside its folder. Fetch it again."
        )
    absent = sorted(shard for shard in shards if not (path.parent / shard).is_file())
    if absent:
        raise ReportCardError(
            f"{option}: {path.parent} is half a download: {len(absent)} of {len(shards)} shards of"
            f" {path.name} are missing, {absent[0]} first."
        )


def safetensors_shapes(path: Path, option: str = "model.weights") -> dict[str, tuple[int, ...]]:
    """Tensor name → shape out of a safetensors header. Raises ReportCardError when the file is cut.

    Format: 8 bytes little-endian header length, JSON header, data (huggingface/safetensors README).
    A file is read again when its size or time changes.
    """
    stat = path.stat()
    return _shapes(path, stat.st_size, stat.st_mtime_ns, option)


@cache
def _shapes(path: Path, size: int, time: int, option: str) -> dict[str, tuple[int, ...]]:
    try:
        with path.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > min(size, 10**8):
                raise ValueError
            header = json.loads(handle.read(length))
        tensors = {k: v for k, v in header.items() if k != "__metadata__"}
        end = max((int(v["data_offsets"][1]) for v in tensors.values()), default=0)
        shapes = {k: tuple(map(int, v["shape"])) for k, v in tensors.items()}
    except (
        *(ValueError, KeyError, IndexError, TypeError, AttributeError),
        *(OverflowError, RecursionError, struct.error),
    ):
        raise ReportCardError(f"{option}: {path} is no safetensors file.") from None
    if size != 8 + length + end:
        raise ReportCardError(
            f"{option}: {path} has {size:,} bytes where its header announces {8 + length + end:,}:"
            " half a download. Fetch it again."
        )
    return shapes


def size_of(folder: Path, patterns: tuple[str, ...]) -> int:
    """Bytes of the files that match: what loading will read."""
    return sum(p.stat().st_size for pattern in patterns for p in folder.glob(pattern))


def cached(repo: str, revision: str) -> Path | None:
    """The snapshot folder of a commit in the Hugging Face cache; None: not there."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return None
    try:
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except Exception:  # the hub's client raises errors of several libraries for "not there"
        return None


def _download(repo: str, revision: str, option: str) -> None:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise ReportCardError(
            "huggingface_hub is not installed, run: pip install 'cxr-reportcard[gpu]'"
            " (make setup-gpu)"
        ) from None
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        snapshot_download(repo, revision=revision)
        return
    except GatedRepoError:
        reason = (
            f"{repo} is behind a gate: accept its licence at {hub}/{repo}, then run `hf auth login`"
        )
    except RevisionNotFoundError:
        reason = f"{repo} has no commit {revision}"
    except RepositoryNotFoundError:
        reason = f"{hub} has no {repo}, or it is private: run `hf auth login` if you may see it"
    except (HfHubHTTPError, OSError, RuntimeError, ValueError) as error:
        cause = " ".join(str(error.__cause__ or error).split())[:200]
        reason = f"could not fetch {repo} from {hub}: {cause}. What arrived is kept; or download it"
        reason += f" elsewhere and give {option}=FOLDER"
    except Exception as error:  # httpx' errors are no OSError
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        reason = f"could not fetch {repo} from {hub}: {cause}. Give {option}=FOLDER instead"
    raise ReportCardError(f"{option}: {reason}.")


def _remembered_digest(path: Path) -> str:
    """file_digest, asked again only when size or time changed; kept beside the weights cache."""
    from reportcard.core.weights import weights_dir

    real = path.resolve()
    stat = real.stat()
    entry = [stat.st_size, stat.st_mtime_ns]
    if stat.st_size < 2**20:
        return file_digest(real)
    book_path = weights_dir() / "digests.json"
    try:
        book = read_json(book_path) if book_path.is_file() else {}
    except ReportCardError:
        book = {}
    known = book.get(str(real))
    if isinstance(known, list) and known[:2] == entry:
        return str(known[2])
    from reportcard.core.files import write_json

    found = file_digest(real)
    write_json(book_path, {**book, str(real): [*entry, found]})
    return found
