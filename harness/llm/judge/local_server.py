"""Serves a GGUF model on 127.0.0.1 with llama.cpp's OpenAI-compatible server: `reportcard judge`.

Without a model of the user's it serves SmolLM2-135M-Instruct. That model is small enough for every
laptop, so the judged metrics can be tried and tested end to end; its verdicts are worthless as
medicine. `running` starts the same server for the length of a `with`, for tests and audits.

llama.cpp accepts any model name in a request and answers under the name of what it serves. That
name is the file's stem and a digest, so that a verdict's identity says which model gave it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from reportcard.api import ReportCardError
from reportcard.core.download import JUDGE_GGUF, fetch_judge
from reportcard.core.weights import weights_dir

HOST = "127.0.0.1"
PORT, SLOTS = 8103, 2  # base_url and concurrency of conf/judge/local.yaml
LOAD_S = 120.0  # how long loading a model may take
QUIET = 2  # llama.cpp's verbosity: warnings and errors only, on stderr
ENDS = 1 << 20  # bytes at each end of a file that `model_name` digests
PROMPT_CACHE_MIB = 1024  # for static prompts that another kind of question replaced in a slot

Say = Callable[[str], None]


def _until_interrupted() -> None:
    threading.Event().wait()


def serve(
    gguf: Path | None,
    *,
    port: int,
    threads: int,
    slots: int,
    context: int,
    say: Say,
    wait: Callable[[], object] = _until_interrupted,
) -> NoReturn:
    """Serve a model until Ctrl-C (or until `wait` returns), then exit with code 0.

    Raises ReportCardError before anything is loaded when xllamacpp is missing, the port is taken,
    or the file is no GGUF.

    Args:
        gguf: the model's file; None: SmolLM2, which is fetched once.
        port: where it listens; 0 takes a free port.
        threads: CPU threads.
        slots: how many questions it answers at a time.
        context: tokens per slot, question and answer together. A longer question gets status 400.
        say: prints a line.
        wait: returns when the server is to end.
    """
    for name, value in (("threads", threads), ("slots", slots), ("context", context)):
        if value < 1:
            raise ReportCardError(f"--{name} must be 1 or more, not {value}.")
    with suppress(KeyboardInterrupt):
        llama = _xllamacpp()
        _check_port(port)
        path = _checked(gguf or fetch_judge(judge_dir(), say))
        say(f"Loading {path}")
        server = _load(llama, path, port, threads, slots, context)
        for line in _welcome(path, f"{server.listening_address}/v1", slots, context):
            say(line)
        wait()
    # Destroying the server would wait for the answers in flight, for half a minute and more.
    sys.stdout.flush()
    os._exit(0)


@contextmanager
def running(
    gguf: Path | None = None,
    *,
    threads: int = 1,
    slots: int = SLOTS,
    context: int = 4096,
    say: Say = lambda text: None,
) -> Iterator[str]:
    """Start a server in a process of its own on a free port, and yield its base_url.

    It ends with the `with`, and when this process dies. Raises ReportCardError with the end of its
    log when it does not start. The arguments are those of `serve`.
    """
    path = gguf or fetch_judge(judge_dir(), say)
    options = {"port": 0, "threads": threads, "slots": slots, "context": context}
    command = [sys.executable, "-m", __name__, str(path), json.dumps(options)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield _base_url(process, log)
        finally:
            process.kill()


def judge_dir() -> Path:
    """Return the folder of the fetched model."""
    return weights_dir() / "judge"


def model_name(gguf: Path) -> str:
    """Return the name that a file is served under: `My-Model-7B-.Q4_K_M@1a2b3c4d`.

    It is the file's stem without characters that a shell or Hydra would interpret, and a digest
    that tells two models of one name apart. The digest covers the size and the first and last MiB,
    because reading all of a large model takes minutes.
    """
    size = gguf.stat().st_size
    known = hashlib.sha256(str(size).encode())
    with gguf.open("rb") as handle:
        known.update(handle.read(ENDS))
        handle.seek(max(0, size - ENDS))
        known.update(handle.read(ENDS))
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", gguf.stem)
    return f"{stem[:80]}@{known.hexdigest()[:8]}"


def _xllamacpp() -> Any:
    try:
        import xllamacpp
    except ImportError:
        raise ReportCardError(
            "xllamacpp is not installed, run: pip install 'cxr-reportcard[judge]'"
        ) from None
    return xllamacpp


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server binds
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ReportCardError(
                f"Port {port} on {HOST} is not available: {reason}. Is a judge running already?"
                " Otherwise choose another port: reportcard judge --port N"
            ) from None


def _checked(gguf: Path) -> Path:
    try:
        with gguf.open("rb") as handle:
            magic = handle.read(4)
    except OSError as error:
        raise ReportCardError(f"{gguf} cannot be read: {error.strerror}.") from None
    if magic != b"GGUF":
        raise ReportCardError(
            f"{gguf} is not a GGUF file (it does not begin with 'GGUF'). Give the .gguf of a chat"
            " model, or leave out --gguf for SmolLM2-135M-Instruct."
        )
    return gguf


def _load(llama: Any, gguf: Path, port: int, threads: int, slots: int, context: int) -> Any:
    """Start the server; its constructor returns when the model is loaded."""
    params = llama.CommonParams()
    params.model.path = str(gguf)
    params.model_alias = {model_name(gguf)}
    params.hostnames, params.port = [HOST], port
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_parallel, params.n_ctx = slots, context * slots  # n_ctx is divided among the slots
    params.offline, params.ui = True, False
    # A web page in a browser on this machine must not read the questions.
    params.cors_origins, params.endpoint_slots = "localhost", False
    params.cache_ram_mib, params.verbosity = PROMPT_CACHE_MIB, QUIET
    try:
        return llama.Server(params)
    except RuntimeError:
        raise ReportCardError(
            f"llama.cpp could not serve {gguf}; its message is above. Is the file complete, and is"
            f" there memory for it and {slots} × {context} tokens?"
        ) from None


def _welcome(gguf: Path, base_url: str, slots: int, context: int) -> Iterator[str]:
    """Yield what is served, and the command that uses it.

    The command sets only what differs from conf/judge/local.yaml. The caveat there is about
    SmolLM2, so the command for another model removes it.
    """
    bundled = gguf.name == JUDGE_GGUF
    changes: Sequence[tuple[bool, str]] = (
        (base_url != f"http://{HOST}:{PORT}/v1", f"judge.base_url={base_url}"),
        (slots != SLOTS, f"judge.concurrency={slots}"),
        (not bundled, f"judge.model={model_name(gguf)} judge.caveat=null"),
    )
    overrides = "".join(f" {words}" for changed, words in changes if changed)
    yield f"{model_name(gguf)} answers on {base_url} ({slots} slots of {context} tokens)"
    if bundled:
        yield "It checks the plumbing; its verdicts are worthless as medicine."
    yield "In another terminal:"
    yield f"  reportcard evaluate PAIRS --metrics chexprompt,radfact --judge local{overrides}"
    yield "Ctrl-C ends it."


def _base_url(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    """Read the address from the server's log, where it appears when the model is loaded."""
    deadline = time.monotonic() + LOAD_S
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        # pread leaves the file position alone, which the server shares.
        text = os.pread(log.fileno(), 1 << 20, 0).decode("utf-8", "replace")
        found = re.search(rf"answers on (http://{re.escape(HOST)}:\d+/v1)", text)
        if found:
            return found[1]
        if ended:
            raise ReportCardError(f"The local judge did not start:\n{text.strip()[-1000:]}")
        time.sleep(0.05)
    raise ReportCardError(
        f"The local judge was not ready after {LOAD_S:.0f} s:\n{text.strip()[-1000:]}"
    )


def _child(path: str, options: str) -> None:
    """Run the process of `running`. Its stdin ends when the parent closes it or dies."""

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        serve(Path(path), **json.loads(options), say=say, wait=sys.stdin.read)
    except ReportCardError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _child(*sys.argv[1:])
