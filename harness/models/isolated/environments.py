"""Builds a model's own virtual environment, once, from its requirements.txt.

The folder is `$REPORTCARD_CACHE/envs/<name>-<digest8>`. It is made with uv if that is installed,
else with venv and pip. READY is written last: without it a build was interrupted, and is repeated.
The installer inherits the lock, so that the next build waits for an installer that outlived ours.

A line `# python: 3.9 3.10 3.11` in the requirements names the Python versions that are accepted.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from reportcard.api import ReportCardError
from reportcard.core.files import digest, file_digest, read_text, write_json
from reportcard.core.weights import weights_dir

READY = "READY"
WANTED = re.compile(r"^#\s*python:\s*(.+)$", re.MULTILINE)
VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
# The user's package index, wheels and certificates; uv has other names for them than pip.
UV_NAMES = {
    "UV_FIND_LINKS": "PIP_FIND_LINKS",
    "UV_DEFAULT_INDEX": "PIP_INDEX_URL",
    "UV_INDEX": "PIP_EXTRA_INDEX_URL",
    "SSL_CERT_FILE": "PIP_CERT",
}
# A worker runs a model's own code, so it gets no variable whose name may be a secret's, wherever in
# the name the word stands: AWS_SECRET_ACCESS_KEY, OPENAI_KEY, MY_AZURE_KEY.
SECRET = re.compile("KEY|SECRET|TOKEN|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
LOGIN = re.compile(r"://[^/\s]*@")  # a URL with user name and password: for the build only
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")


def environment(name: str, requirements: Path, say: Callable[[str], None]) -> Path:
    """Return the Python of the model's environment, and build the environment if needed.

    Raises ReportCardError if the Python version is not installed, or with the last lines of a
    build that failed.
    """
    python = interpreter(name, requirements)
    key = digest([file_digest(requirements), _version_of(python)])[:8]
    folder = weights_dir().parent / "envs" / f"{name}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    found = folder / "bin" / "python"
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"{name}: waiting for another process that builds {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / READY).is_file() or not found.exists():
            say(f"{name}: building its environment once, {folder}")
            shutil.rmtree(folder, ignore_errors=True)
            _build(name, python, requirements, folder, lock)
            write_json(folder / READY, {"requirements": requirements.read_text(encoding="utf-8")})
    return found


def interpreter(name: str, requirements: Path) -> str:
    """Return a Python that the requirements accept: this one, one on PATH, or one of uv's."""
    match = WANTED.search(read_text(requirements))
    if match is None:
        return sys.executable
    wanted = match[1].split()
    if "{}.{}".format(*sys.version_info) in wanted:
        return sys.executable
    for version in reversed(wanted):
        for command in filter(None, (shutil.which(f"python{version}"), _known_to_uv(version))):
            if _version_of(command) == version:
                return command
    raise ReportCardError(
        f"{name} needs Python {' or '.join(wanted)}, and this machine has no"
        f" python{wanted[-1]}. Install one (`uv python install {wanted[-1]}`, conda, your system's"
        " packages), or name an interpreter with the packages in it: model.env=PATH"
    )


def worker_environment() -> dict[str, str]:
    """Return the worker's environment variables: no module paths, no secrets, no downloads."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in FOREIGN and not SECRET.search(name) and not LOGIN.search(value)
    }
    offline = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return {**kept, **offline, "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def uv() -> str | None:
    """Return the path of uv beside this interpreter or on PATH, or None."""
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else shutil.which("uv")


def _build(name: str, python: str, requirements: Path, folder: Path, lock: IO[str]) -> None:
    tool, own = uv(), str(folder / "bin" / "python")
    if tool:
        commands = [
            [tool, "venv", "--python", python, str(folder)],
            [tool, "pip", "install", "--python", own, "-r", str(requirements)],
        ]
    else:
        commands = [
            [python, "-m", "venv", str(folder)],
            [own, "-m", "pip", "install", "-r", str(requirements)],
        ]
    log = folder.with_suffix(".log")
    with log.open("w", encoding="utf-8") as handle:
        for command in commands:
            handle.write(" ".join(command) + "\n")
            handle.flush()
            done = subprocess.run(  # noqa: S603 (no shell)
                command,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                env=_installer_environment(os.environ),
                pass_fds=(lock.fileno(),),
                check=False,
            )
            if done.returncode:
                handle.flush()
                shutil.rmtree(folder, ignore_errors=True)
                lines = [line.strip() for line in read_text(log).splitlines() if line.strip()]
                raise ReportCardError(
                    f"{name}: its environment could not be built from {requirements}:"
                    f" {' | '.join(lines[-6:])[-900:]}. The whole log is {log}"
                )


def _installer_environment(ours: Mapping[str, str]) -> dict[str, str]:
    env = {name: value for name, value in ours.items() if name not in FOREIGN}
    for theirs, pips in UV_NAMES.items():
        if pips in env and theirs not in env:
            several = theirs == "UV_FIND_LINKS"
            env[theirs] = ",".join(env[pips].split()) if several else env[pips]
    return {"UV_PYTHON_DOWNLOADS": "never", **env}


def _known_to_uv(version: str) -> str | None:
    tool = uv()
    return _output(tool, "python", "find", version) if tool else None


def _version_of(python: str) -> str | None:
    """Return an interpreter's version, such as "3.11", or None if it does not start."""
    if python == sys.executable:
        return "{}.{}".format(*sys.version_info)
    return _output(python, "-c", VERSION)


def _output(*command: str) -> str | None:
    env = _installer_environment(os.environ)
    try:
        done = subprocess.run(  # noqa: S603 (no shell)
            command, capture_output=True, text=True, timeout=30, check=True, env=env
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
