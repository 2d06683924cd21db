"""Wording that is not ours to ship, read out of the user's git checkout at a given commit.

Nothing of the checkout is imported or run, and its work tree is not looked at: the bytes are those
of the commit.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from reportcard.api import ReportCardError


def read_at(root: Path, commit: str, path: str) -> str:
    """The text of a file of a commit. Raises ReportCardError when it is not there."""
    if not re.fullmatch(r"[0-9a-f]{7,40}", commit):
        raise ReportCardError(f"'{commit}' is no commit: give 7 to 40 hexadecimal digits.")
    if not root.is_dir():
        raise ReportCardError(f"No checkout at {root}: git clone it there.")
    command = ["git", "-C", str(root), "show", f"{commit}:{path}"]
    # GIT_DIR and its like would point at another repository than root.
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False, env=clean)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReportCardError(f"git could not read {root}: {error}") from None
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ReportCardError(f"{root} has no {path} at commit {commit[:12]} ({' '.join(reason)}).")
    try:
        return done.stdout.decode("utf-8")
    except UnicodeDecodeError:
        raise ReportCardError(f"{root}: {path} at commit {commit[:12]} is not UTF-8.") from None
