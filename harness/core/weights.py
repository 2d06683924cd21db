"""Downloads published weights at fixed commits and verifies them (`reportcard fetch weights`).

Files come from the Hugging Face hub, or the mirror that HF_ENDPOINT names. They are stored in
`$REPORTCARD_CACHE/weights` (default `~/.cache/reportcard/weights`), where the annotators find them.

A file is verified in one of two ways, and the output says which:
- Its sha256 is compared with the table below. These digests are not from our own download but from
  public projects that pin the same file: many for chexbert.pth, one for each XL archive.
- A file without a digest in the table is compared with the digest of the first download, which is
  stored in `weights.lock.json`. This detects changes, not a wrong first copy.
"""

from __future__ import annotations

import os
import shutil
import socket
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reportcard.core.errors import Json, ReportCardError
from reportcard.core.files import file_digest, read_json, write_json

HUB = "https://huggingface.co"
LOCK = "weights.lock.json"
CONNECT_S = 10


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file on the hub, and its path `<set>/<to>` in the weights folder."""

    repo: str
    revision: str
    name: str
    to: str
    sha256: str | None = None
    optional: bool = False  # not every repository has it

    @property
    def source(self) -> str:
        return f"{self.repo}@{self.revision}/{self.name}"


_SCORERS = "StanfordAIMI/RRG_scorers"
# The commit to which the published digests below belong.
_SCORERS_NOW = "6646433b3ad83a10f6e141db76d0ece44312b236"
# The commit that LLaVA-Rad's rrg_eval pins for the original RadGraph (f1radgraph.py).
_SCORERS_LLAVA_RAD = "d97745aa136e5beb927da7e768e99de6ae807902"
_BERT = ("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594")
_UNCASED_VOCAB = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def _encoder(
    repo: str, revision: str, digests: dict[str, str | None], optional: tuple[str, ...] = ()
) -> tuple[WeightFile, ...]:
    folder = repo.partition("/")[2]
    return tuple(
        WeightFile(repo, revision, name, f"{folder}/{name}", sha256, name in optional)
        for name, sha256 in digests.items()
    )


SETS: dict[str, tuple[WeightFile, ...]] = {
    "chexbert": (
        WeightFile(
            _SCORERS,
            _SCORERS_NOW,
            "chexbert.pth",
            "chexbert.pth",
            "6550703c92d640e1e04d8105a7a185d76ece0f25fcbf033d292785bf22c0fde1",  # 1.3 GB
        ),
        WeightFile(*_BERT, "vocab.txt", "vocab.txt", _UNCASED_VOCAB),
    ),
    "radgraph": (
        WeightFile(_SCORERS, _SCORERS_LLAVA_RAD, "radgraph.tar.gz", "radgraph.tar.gz"),
        WeightFile(
            _SCORERS,
            _SCORERS_NOW,
            "radgraph-xl.tar.gz",
            "radgraph-xl.tar.gz",
            "fadb5a3454e8996714b609e3105a07e447fa61aa88fffe966b650959475117b6",
        ),
        WeightFile(
            _SCORERS,
            _SCORERS_NOW,
            "modern-radgraph-xl.tar.gz",
            "modern-radgraph-xl.tar.gz",
            "dfc715608d0f1bfc15168f80cd1953ea63bd7960a5506401848858f8dbdea5ff",
        ),
    ),
    "bertscore": (
        *_encoder(
            "distilbert/distilroberta-base",
            "fb53ab8802853c8e4fbdbcd0529f21fc6f459b2b",
            {
                "model.safetensors": (
                    "2b11ca9cf3d2cbb44cc1a93ad96aedc2894231ae6e33e2d2268c3d7b1ff97663"
                ),
                "config.json": None,
                "tokenizer.json": None,
                "tokenizer_config.json": None,
                "vocab.json": None,
                "merges.txt": None,
            },
            optional=("tokenizer_config.json",),
        ),
        *_encoder(
            "distilbert/distilbert-base-uncased",
            "12040accade4e8a0f71eabdb258fecc2e7e948be",
            {
                "model.safetensors": (
                    "5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063"
                ),
                "config.json": "69c94b0222d5d1f4b0ad027ca7416cdafb98378cbbb8305d0bf47c9365c60c83",
                "tokenizer.json": (
                    "ce64fce797c24f68df90b40a3f74f579b336a493db14bd583fd520ea0d8c9a98"
                ),
                "tokenizer_config.json": (
                    "a025160ef0431f1a392f6f050c1310f4c5d9fb6f275932dbccba73c4d214bf10"
                ),
                "vocab.txt": _UNCASED_VOCAB,
            },
        ),
    ),
}


def weights_dir() -> Path:
    """Return the folder of downloaded weights."""
    cache = os.environ.get("REPORTCARD_CACHE") or "~/.cache/reportcard"
    return Path(cache).expanduser() / "weights"


def weights_path(group: str, name: str) -> Path:
    """Return the path to which `fetch weights <group>` writes a file."""
    return weights_dir() / group / name


def weights_missing(group: str, path: Path) -> str:
    """Return the sentence for Annotator.missing() when there is no file at `path`."""
    hint = f"weights missing, run: reportcard fetch weights {group} (or weights.{group}=/path)"
    given = path != weights_path(group, path.name)
    return f"{hint}; there is no file at {path}" if given else hint


def hub_cached(name: str) -> Path | None:
    """Return a file of bert-base-uncased from this machine's Hugging Face cache, or None."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    for repo in (_BERT[0], "bert-base-uncased"):
        for revision in (_BERT[1], "main"):
            found = try_to_load_from_cache(repo, name, revision=revision)
            if isinstance(found, str):
                return Path(found)
    return None


def fetch_weights(
    names: Sequence[str], cache_dir: Path, say: Callable[[str], None], endpoint: str | None = None
) -> list[Path]:
    """Download the files of weight sets and verify them.

    Args:
        names: the sets; empty for all of SETS.
        cache_dir: the weights folder.
        say: prints one line to the user.
        endpoint: the hub; default HF_ENDPOINT or huggingface.co.

    Files that are there are verified and not downloaded again. Returns the paths.
    Raises ReportCardError for an unknown set, a hub that cannot be reached, and a wrong digest.
    """
    for name in names:
        if name not in SETS:
            raise ReportCardError(f"There are no weights '{name}'; there are {', '.join(SETS)}.")
    hub = _Hub(endpoint or os.environ.get("HF_ENDPOINT") or HUB)
    lock = _Lock(cache_dir / LOCK)
    placed = []
    for group in names or SETS:
        for file in SETS[group]:
            target = cache_dir / group / file.to
            if target.is_file():
                problem = lock.problem(file, target)
                if problem is None:
                    say(f"in place: {target} ({lock.grade(file)})")
                    placed.append(target)
                    continue
                say(f"{target}: {problem}; fetching it again.")
            say(f"Fetching {file.source} from {hub.endpoint}")
            arrived = hub.download(file, target, cache_dir / ".incoming")
            if arrived is None:
                say(f"  {file.repo} has no {file.name}; it is not needed.")
                continue
            problem = lock.problem(file, arrived)
            if problem is not None:
                arrived.unlink()
                raise ReportCardError(
                    f"{hub.endpoint}/{file.source}: {problem}. Nothing was put at {target}."
                )
            lock.record(file, arrived)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(arrived, target)
            say(f"  {target} ({lock.grade(file)})")
            placed.append(target)
    shutil.rmtree(cache_dir / ".incoming", ignore_errors=True)
    return placed


class _Lock:
    """Verifies digests: those of the table, or else those of the first download."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Json = read_json(path) if path.is_file() else {}

    def problem(self, file: WeightFile, path: Path) -> str | None:
        expected = file.sha256 or self._seen.get(file.source)
        if expected is None:
            return None
        found = file_digest(path)
        if found == expected:
            return None
        return f"sha256 is {found[:16]}…, expected {str(expected)[:16]}… ({self.grade(file)})"

    def grade(self, file: WeightFile) -> str:
        if file.sha256:
            return "sha256 as published"
        return (
            f"sha256 as in {LOCK}" if file.source in self._seen else "no published sha256 is known"
        )

    def record(self, file: WeightFile, path: Path) -> None:
        if file.sha256 is None and file.source not in self._seen:
            self._seen[file.source] = file_digest(path)
            write_json(self._path, self._seen)


class _Hub:
    """Downloads single files from a hub, with errors that say what to do."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._reached = False

    def download(self, file: WeightFile, target: Path, incoming: Path) -> Path | None:
        """Download to `incoming`, resuming an interrupted download; None: optional and absent."""
        try:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
        except ImportError:
            raise ReportCardError(
                "huggingface_hub is not installed, run: pip install 'cxr-reportcard[clinical]'"
            ) from None
        folder = incoming / file.repo.replace("/", "--") / file.revision
        try:
            self._reach()
            found: Any = hf_hub_download(
                file.repo,
                file.name,
                revision=file.revision,
                local_dir=folder,
                endpoint=self.endpoint,
            )
        except Exception as error:  # includes errors of the client's HTTP library
            absent = isinstance(error, EntryNotFoundError)
            if file.optional and absent and not isinstance(error, LocalEntryNotFoundError):
                return None
            cause = error.__cause__ or error
            reason = " ".join(str(cause).split())[:200] or type(cause).__name__
            raise ReportCardError(
                f"Could not fetch {file.source} from {self.endpoint}: {reason}. Try again (the"
                " download resumes), name a mirror with HF_ENDPOINT=…, or copy the file by hand to"
                f" {target}."
            ) from None
        return Path(found)

    def _reach(self) -> None:
        """Connect once, since the hub's client would retry for half a minute."""
        if self._reached or urllib.request.getproxies():
            return
        parts = urlsplit(self.endpoint)
        port = parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_S).close()
        self._reached = True
