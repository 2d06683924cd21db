"""Runs one worker process: starts it, exchanges messages, watches it, and ends it.

It leads its own process group, so that everything it started ends with it, and it ends by itself
when this process is gone. It sends heartbeats: if no byte arrives for `silence_s`, it hangs; if
heartbeats arrive, it is only slow.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from reportcard.api import Json
from reportcard.models.isolated.frames import FrameReader, ProtocolError, WorkerError, pack

PROTOCOL = 1
GRACE_S = 3.0  # from closing the stream to the kill


class WorkerCrashError(WorkerError):
    """WorkerCrashError: the process ended by itself."""


class WorkerTimeoutError(WorkerError):
    """WorkerTimeoutError: no answer in time, or no heartbeat."""


class WorkerProcess:
    """WorkerProcess is a process that exchanges messages; its stderr goes to the file `log`.

    Only the owner may read the log.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], log: Path, silence_s: float = 120.0
    ) -> None:
        self.log, self._silence_s = log, silence_s
        self._reader, self._frames = FrameReader(), deque[Json]()
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603 (no shell)
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=handle,
                env=dict(env),
                bufsize=0,
                start_new_session=True,  # Ctrl-C reaches us first; the group can be ended as one
            )
        except OSError as error:
            raise WorkerCrashError(f"{command[0]} cannot be started: {error.strerror}") from None
        finally:
            os.close(handle)
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        self._heard = time.monotonic()
        self._end = weakref.finalize(self, _end, self._process, 0.0)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, frame: Json, kind: str, timeout_s: float) -> Json:
        """Send a message and wait for the answer: one of this kind, or an error."""
        deadline = time.monotonic() + timeout_s
        self._heard = time.monotonic()
        self._send(pack(frame), deadline, timeout_s)
        return self.receive(kind, deadline, timeout_s)

    def receive(self, kind: str, deadline: float, timeout_s: float) -> Json:
        """Wait for a message of this kind, or an error.

        Raises WorkerCrashError, WorkerTimeoutError and ProtocolError.
        """
        while True:
            while self._frames:
                frame = self._frames.popleft()
                if frame["kind"] == "alive":
                    continue
                if frame["kind"] not in (kind, "error"):
                    raise ProtocolError(
                        f"the worker sent {frame['kind'][:40]!r} where {kind!r} was due"
                    )
                return frame
            self._wait(self._out, select.POLLIN, deadline, timeout_s)
            data = os.read(self._out, 1 << 16)
            if not data:
                raise self._crash()
            self._heard = time.monotonic()
            self._frames.extend(self._reader.feed(data))

    def hello(self, timeout_s: float) -> Json:
        """Wait for the first message: the versions of Python and packages, and the GPU."""
        frame = self.receive("hello", time.monotonic() + timeout_s, timeout_s)
        if frame["kind"] == "hello" and frame.get("protocol") != PROTOCOL:
            raise ProtocolError(
                f"the worker speaks protocol {frame.get('protocol')!r:.20}, not {PROTOCOL}"
            )
        return frame

    def stop(self) -> None:
        """Close the stream, which ends a healthy worker; kill the group if it does not end."""
        self._finish(GRACE_S)

    def kill(self) -> None:
        """Kill the process group at once."""
        self._finish(0.0)

    def tail(self, lines: int = 5) -> str:
        """Return the last lines of stderr in one line. They may quote the model's input."""
        try:
            with self.log.open("rb") as handle:
                handle.seek(max(0, os.fstat(handle.fileno()).st_size - 4096))
                text = handle.read().decode("utf-8", "replace")
        except OSError:
            return ""
        words = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
        return " | ".join(words[-lines:])[-600:]

    def _finish(self, grace_s: float) -> None:
        if self._end.detach():
            _end(self._process, grace_s)

    def _send(self, data: bytes, deadline: float, timeout_s: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._in, select.POLLOUT, deadline, timeout_s)
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._crash() from None

    def _wait(self, fd: int, event: int, deadline: float, timeout_s: float) -> None:
        """Wait until fd is ready. Data counts before the clock: this machine may have slept."""
        until = min(deadline, self._heard + self._silence_s)
        poll = select.poll()
        poll.register(fd, event)
        if poll.poll(max(0.0, until - time.monotonic()) * 1000):
            return
        if time.monotonic() >= deadline:
            raise WorkerTimeoutError(f"the worker gave no answer within {timeout_s:g} s")
        raise WorkerTimeoutError(f"the worker sent no heartbeat for {self._silence_s:g} s")

    def _crash(self) -> WorkerCrashError:
        until = time.monotonic() + 1.0
        while (code := _exit_code(self._process)) is None:
            if time.monotonic() > until:
                return WorkerCrashError("the worker closed its stream")
            time.sleep(0.01)
        if code >= 0:
            return WorkerCrashError(f"the worker ended with exit code {code}")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        more = " (often by the kernel, when memory runs out)" if -code == signal.SIGKILL else ""
        return WorkerCrashError(f"the worker was ended by {name}{more}")


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the process group.

    A worker whose stream is closed removes its images. A worker that is to be replaced is killed
    before that, because its successor gets the same images.
    """
    if grace_s and process.stdin:
        process.stdin.close()
        until = time.monotonic() + grace_s
        while _exit_code(process) is None and time.monotonic() < until:
            time.sleep(0.01)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code (negative for a signal), or None if the process runs.

    The process is not reaped here: until it is, the system gives its id, and so the id of its
    group, to no other process.
    """
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
