"""Reads prompts that we may not ship from the user's git checkout, at a given commit.

Nothing in the checkout is imported or run. The text is that of the commit, whatever the work tree
holds.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from reportcard.api import ReportCardError


def read_at(root: Path, commit: str, path: str) -> str:
    """Return the text of a file at a commit.

    Args:
        root: the folder of the checkout.
        commit: 7 to 40 hexadecimal digits.
        path: the file's path in the repository.

    Raises ReportCardError when it is not there.
    """
    if not re.fullmatch(r"[0-9a-f]{7,40}", commit):
        raise ReportCardError(f"'{commit}' is no commit: give 7 to 40 hexadecimal digits.")
    if not root.is_dir():
        raise ReportCardError(f"No checkout at {root}: git clone it there.")
    command = ["git", "-C", str(root), "show", f"{commit}:{path}"]
    # GIT_DIR and similar variables could point at another repository.
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
