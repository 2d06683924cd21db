"""A temporary folder of one process: for its owner alone, and gone with the process.

A process that was killed leaves its folder, and with it what Ray spilled there, which may be text
of reports. The next process of the same user removes it: a lock that the kernel dropped tells.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "reportcard-ray-"
LONGEST = 39  # characters: sockets lie 67 below, and the kernel takes 107


class PrivateFolder:
    """Mode 0700. Made, it first removes those that were left behind."""

    def __init__(self) -> None:
        place = Path(tempfile.gettempdir())
        if len(str(place)) + len(PREFIX) + 9 > LONGEST:
            place = Path("/tmp")  # noqa: S108 (mkdtemp makes it private)
        for left in place.glob(f"{PREFIX}*"):
            _remove_if_left(left)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        self.inside = self.path / "r"  # what Ray opens to everybody, so a folder above it is ours
        self._lock = (self.path / ".lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):
        if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
            return
        with (folder / ".lock").open("r+") as lock:  # none: it is being made
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
