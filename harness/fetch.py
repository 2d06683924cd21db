"""`reportcard fetch openi`: public data onto this machine, verified by hash.

The NLM address comes first. Where it cannot be reached, the same bytes are taken out of the PyPI
wheel `torchxrayvision==1.5.7`, which carries the archive as a data file; the wheel is opened as a
zip and never imported.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.api import ReportCardError
from harness.store import file_digest, write_atomic

ARCHIVE = "NLMCXR_reports.tgz"
ARCHIVE_SHA256 = "8fb6de7eec73d8c3665067ad4bb003ccd57f971ae316d2642e1627ac7268667a"
NLM_URL = f"https://openi.nlm.nih.gov/imgs/collections/{ARCHIVE}"
WHEEL = "torchxrayvision==1.5.7"
WHEEL_MEMBER = f"torchxrayvision/data/{ARCHIVE}"
TIMEOUT_S = 20
MAX_BYTES = 20_000_000  # the archive has 1.1 MB


def fetch_openi(root: Path, say: Callable[[str], None], url: str = NLM_URL) -> Path:
    """Put the verified archive into `root`; does nothing when it is already there."""
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


def _from_wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--only-binary=:all:", "--dest", folder, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603
        if done.returncode:
            raise OSError(f"pip download failed: {done.stderr.strip()[-300:]}")
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(WHEEL_MEMBER).file_size > MAX_BYTES:
                raise OSError(f"{WHEEL_MEMBER} is too large to be the archive")
            return archive.read(WHEEL_MEMBER)
