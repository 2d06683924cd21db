"""Finds, reads and safely unpacks a RadGraph archive.

An archive is `<model_type>.tar.gz` as StanfordAIMI/RRG_scorers publishes it, or its unpacked
folder: config.json, vocabulary/*.txt, weights.th. Every error names the path.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from reportcard.api import Json, ReportCardError

CONFIG, WEIGHTS, VOCABULARY = "config.json", "weights.th", "vocabulary"
MAX_BYTES = 4 * 2**30  # the published archives unpack to about half a gigabyte
MAX_SMALL_BYTES = 10 * 2**20  # config and label lists are a few kilobytes
_BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error)


def cache_dir() -> Path:
    """Return where `reportcard fetch weights radgraph` puts the archives."""
    root = os.environ.get("REPORTCARD_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "reportcard") / "weights" / "radgraph"


def locate(given: str | None, model_type: str) -> Path | None:
    """Return the archive or unpacked folder of `model_type`, or None if there is none.

    `given` is an archive, an unpacked folder, or a folder that holds one of these by its name.
    """
    root = Path(given).expanduser() if given else cache_dir()
    if root.is_file() or (root / CONFIG).is_file():
        return root
    for path in (root / f"{model_type}.tar.gz", root / model_type):
        if path.is_file() or (path / CONFIG).is_file():
            return path
    return None


def content_digest(path: Path) -> str:
    """Return the sha256 of an archive, or of all in an unpacked folder that decides a graph."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    total = hashlib.sha256()
    for file in [path / CONFIG, *sorted((path / VOCABULARY).glob("*.txt")), path / WEIGHTS]:
        if file.is_file():
            with file.open("rb") as stream:
                part = hashlib.file_digest(stream, "sha256").hexdigest()
            total.update(f"{file.name}:{part}\n".encode())
    return total.hexdigest()


def read_config(path: Path, shown: Path | None = None) -> Json:
    """Return config.json of an archive or folder. Raises ReportCardError if it cannot be read.

    shown: the path that the message names, where `path` is an unpacked copy of it
    """
    shown = shown or path
    try:
        if path.is_file():
            with tarfile.open(path, "r:gz") as tar:
                text = next((s.read() for name, s in _members(path, tar) if name == CONFIG), None)
        else:
            text = (path / CONFIG).read_bytes()
        config = json.loads(text) if text is not None else None
    except (*_BROKEN, ValueError) as error:
        raise ReportCardError(f"{shown} is no RadGraph archive: {error}") from None
    if not isinstance(config, dict):
        raise ReportCardError(f"{shown} is no RadGraph archive: it has no {CONFIG}.")
    return config


def encoder_name(config: Json, path: Path) -> str:
    """Return the name of the transformer whose configuration and tokenizer the archive uses."""
    try:
        return str(config["model"]["embedder"]["token_embedders"]["bert"]["model_name"])
    except (KeyError, TypeError):
        raise ReportCardError(f"{path}: its {CONFIG} names no encoder.") from None


def unpack(path: Path, model_type: str, target: Path, encoder: str | None = None) -> None:
    """Copy config, vocabulary and weights into `target` in the layout that the package expects.

    The vocabulary is always a copy, because the package writes a lock file beside it.

    Args:
        path: the archive or its unpacked folder.
        model_type: which RadGraph model it must be.
        target: a new folder.
        encoder: replaces the encoder that the configuration names.

    Raises ReportCardError for an archive of another model.
    """
    (target / VOCABULARY).mkdir(parents=True)
    try:
        if path.is_file():
            with tarfile.open(path, "r:gz") as tar:
                for name, stream in _members(path, tar):
                    with (target / name).open("wb") as out:
                        shutil.copyfileobj(stream, out, 2**20)
        else:
            for file in (path / VOCABULARY).glob("*.txt"):
                shutil.copyfile(file, target / VOCABULARY / file.name)
            shutil.copyfile(path / CONFIG, target / CONFIG)
            (target / WEIGHTS).symlink_to((path / WEIGHTS).resolve())
    except _BROKEN as error:
        raise ReportCardError(f"{path} is broken: {error}. Fetch it again.") from None
    labels = f"{VOCABULARY}/{model_type}__ner_labels.txt"
    for needed in (CONFIG, WEIGHTS, f"{VOCABULARY}/non_padded_namespaces.txt", labels):
        if not (target / needed).is_file():
            has = ", ".join(sorted(p.name for p in (target / VOCABULARY).glob("*.txt"))) or "none"
            raise ReportCardError(f"{path} is no {model_type} archive: no {needed} (has {has}).")
    if encoder is not None:
        config = read_config(target, path)
        config["model"]["embedder"]["token_embedders"]["bert"]["model_name"] = encoder
        config["dataset_reader"]["token_indexers"]["bert"]["model_name"] = encoder
        (target / CONFIG).write_text(json.dumps(config), encoding="utf-8")


def _members(path: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    """The files that we need. One member that leaves the folder makes the whole archive refused."""
    total = 0
    for member in tar:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise ReportCardError(f"{path} is refused: member {member.name!r} leaves the folder.")
        if member.isdir():
            continue
        if not member.isreg():
            raise ReportCardError(f"{path} is refused: member {member.name!r} is not a file.")
        total += member.size
        small = str(name) != WEIGHTS
        if total > MAX_BYTES or (small and _wanted(name) and member.size > MAX_SMALL_BYTES):
            raise ReportCardError(f"{path} is refused: member {member.name!r} is too large.")
        stream = tar.extractfile(member) if _wanted(name) else None
        if stream is not None:
            yield str(name), stream


def _wanted(name: PurePosixPath) -> bool:
    vocabulary = len(name.parts) == 2 and name.parts[0] == VOCABULARY and name.suffix == ".txt"
    return str(name) in (CONFIG, WEIGHTS) or vocabulary
