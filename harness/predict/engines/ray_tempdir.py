"""A private temporary folder for Ray's files, removed when the process ends.

A process that was killed leaves its folder behind, with what Ray spilled there, which may contain
report text. The next process of the same user removes such folders. It recognises them by their
lock file: the kernel releases a lock when its process ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "reportcard-ray-"
LONGEST = 39  # characters: Ray's socket paths add 67, and the kernel allows 107


class PrivateFolder:
    """A folder of mode 0700. Making one first removes those that killed processes left behind."""

    def __init__(self) -> None:
        place = Path(tempfile.gettempdir())
        if len(str(place)) + len(PREFIX) + 9 > LONGEST:
            place = Path("/tmp")  # noqa: S108 (mkdtemp makes it private)
        for left in place.glob(f"{PREFIX}*"):
            _remove_if_left(left)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        self.inside = self.path / "r"  # Ray makes it public; `path` is private
        self._lock = (self.path / ".lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):
        if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
            return
        with (folder / ".lock").open("r+") as lock:  # no lock file yet: it is being made
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
