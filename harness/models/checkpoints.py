"""Finds a model's checkpoint: a folder, or a Hugging Face repository at a commit.

Only pinned commits are accepted, because a branch may point to other weights tomorrow. The files
are checked before anything is loaded, so that a missing file, a partial download or a gated
repository gives one clear sentence. Nothing here opens a pickle.
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
    """Checkpoint is a folder that holds every file that the model needs.

    `source` is what the user named. `revision` is the commit of a Hugging Face repository.
    """

    folder: Path
    source: str
    revision: str | None = None

    def path(self, name: str) -> Path:
        return self.folder / name

    @property
    def identity(self) -> str:
        """Identify the weights: repository and commit, or a digest of the folder's files.

        The digest leaves out files that no model reads: hidden files (.cache, .gitattributes),
        READMEs, licences and Markdown. The digest of a large file is remembered with its size and
        time, so that 28 GB are read once per machine.
        """
        if self.revision:
            return self.source
        files = sorted(p for p in self.folder.rglob("*") if p.is_file())
        names = {str(p.relative_to(self.folder)): p for p in files}
        return "sha256:" + digest({n: _remembered_digest(p) for n, p in names.items() if _read(n)})


def _read(name: str) -> bool:
    """Return whether a file of a checkpoint can change what the model answers."""
    parts = Path(name).parts
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and not any(fnmatch(parts[-1].upper(), p) for p in UNREAD)


def locate(
    weights: str | None, needs: tuple[str, ...], option: str = "model.weights"
) -> Checkpoint:
    """Return the checkpoint if it is complete and on this machine; download nothing.

    Args:
        weights: a folder, or org/name@COMMIT.
        needs: files or patterns ("*.safetensors") that the folder must hold.
        option: the name of the setting, for the error message.

    Raises ReportCardError if no weights are given, they are not here, the id has no commit, or a
    file is missing or cut short.
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
    """Return the checkpoint like `locate`, and download it first if it is not in the cache.

    Raises ReportCardError for a gated repository without a token, an unknown repository or commit,
    and a missing network.
    """
    match = HUB_ID.fullmatch(weights)
    if match and not Path(weights).exists():
        try:
            return locate(weights, needs, option)
        except ReportCardError:  # not in the cache, or partly: the download resumes
            _download(match["repo"], match["revision"], option)
    return locate(weights, needs, option)


def check(folder: Path, needs: tuple[str, ...], option: str) -> None:
    """Raise ReportCardError if a needed file is missing or a download was interrupted."""
    names = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    half = sorted(n for n in names if any(fnmatch(Path(n).name, part) for part in PARTS))
    if half:
        raise ReportCardError(
            f"{option}: {folder} is an incomplete download: {half[0]} is unfinished."
        )
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
            f"{option}: {path.parent} is an incomplete download: {len(absent)} of {len(shards)}"
            f" shards of {path.name} are missing, {absent[0]} first."
        )


def safetensors_shapes(path: Path, option: str = "model.weights") -> dict[str, tuple[int, ...]]:
    """Read the shape of every tensor from the header of a safetensors file.

    The format is 8 bytes with the header's length (little-endian), a JSON header, and the data
    (huggingface/safetensors, README). A file is read again when its size or time changes.
    Raises ReportCardError if the file is cut short.
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
            " an incomplete download. Fetch it again."
        )
    return shapes


def weights_identity(weights: str | None) -> str:
    """Identify weights as `Checkpoint.identity` does, or return "absent" if they are not here.

    A Hugging Face id at a commit identifies its weights before they are downloaded.
    """
    if weights and HUB_ID.fullmatch(weights) and not Path(weights).exists():
        return weights
    try:
        return locate(weights, ()).identity
    except ReportCardError:
        return "absent"


def weights_revision(weights: str | None) -> str | None:
    """Return the commit of a Hugging Face id, or None for a folder."""
    match = HUB_ID.fullmatch(weights or "")
    return match["revision"] if match else None


def size_of(folder: Path, patterns: tuple[str, ...]) -> int:
    """Return the total size in bytes of the files that match: what loading will read."""
    return sum(p.stat().st_size for pattern in patterns for p in folder.glob(pattern))


def cached(repo: str, revision: str) -> Path | None:
    """Return the folder of a commit in the Hugging Face cache, or None if it is not there."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return None
    # Only then its downloader is imported, which takes longer than all of `reportcard list models`.
    if not (Path(HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}").is_dir():
        return None
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except Exception:  # huggingface_hub raises errors of several libraries for "not there"
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
    except Exception as error:  # the errors of httpx are not OSErrors
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        reason = f"could not fetch {repo} from {hub}: {cause}. Give {option}=FOLDER instead"
    raise ReportCardError(f"{option}: {reason}.")


def _remembered_digest(path: Path) -> str:
    """Return the digest of a file, and compute it again only if its size or time changed.

    The digests of large files are kept in `digests.json` beside the weights cache.
    """
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
