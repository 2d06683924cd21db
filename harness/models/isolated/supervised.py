"""Starts a worker, sends it batches, restarts it after a crash, and stops after repeated failures.

A batch that ends the worker is tried once more with a new worker; then the engine asks study by
study. The worker's messages are quoted only if the data is open, because an exception or stderr may
contain a report.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reportcard.api import Image, Json, ReportCardError, StopRunError
from reportcard.core.weights import weights_dir
from reportcard.models.isolated import worker_main
from reportcard.models.isolated.environments import worker_environment
from reportcard.models.isolated.frames import WorkerError
from reportcard.models.isolated.worker_process import WorkerProcess

BEAT_S = 5.0
MAX_FAILURES = 6  # in a row, without any answer; then the model's run stops


class WorkerAnswerError(ReportCardError):
    """WorkerAnswerError: the worker is alive, but this batch has no valid answer."""


class OutOfMemoryError(WorkerAnswerError):
    """OutOfMemoryError: the worker's device has too little memory; the engine halves the batch."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Launch says how a worker is started; its load() receives `settings`."""

    name: str
    python: Path
    worker: Path
    settings: Json
    timeout_s: float
    start_timeout_s: float
    silence_s: float


class SupervisedWorker:
    """SupervisedWorker runs at most one process, with a private folder for a batch's images."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self.quote = False  # until the adapter knows that the data is open
        self.versions: Json = {}
        self._process: WorkerProcess | None = None
        self._failed = False
        self._failures = 0
        self._batch = 0
        self._scratch = Path(tempfile.mkdtemp(prefix="reportcard-"))
        weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> WorkerProcess:
        """Start the worker and load its model, or return the running one.

        Raises StopRunError if that fails, because it would fail for every later study too.
        """
        if self._process:
            return self._process
        launch = self._launch
        self._scratch.mkdir(mode=0o700, exist_ok=True)  # a worker removes it when it ends
        beat_s = min(BEAT_S, launch.silence_s / 4)
        command = [
            *(str(launch.python), worker_main.__file__, str(launch.worker)),
            *(str(self._scratch), str(beat_s)),
        ]
        log = weights_dir().parent / "workers" / f"{launch.name}-{os.getpid()}.log"
        try:
            process = WorkerProcess(command, worker_environment(), log, launch.silence_s)
        except WorkerError as error:
            raise StopRunError(f"{launch.name}: {error}") from None
        try:
            answer = self.versions = process.hello(launch.start_timeout_s)
            if answer["kind"] == "hello":
                load = {"kind": "load", **launch.settings}
                answer = process.ask(load, "ready", launch.start_timeout_s)
        except WorkerError as error:
            reason = self._with_log(process, str(error))
            process.kill()
            raise StopRunError(f"{launch.name} did not start: {reason}") from None
        except BaseException:
            process.kill()
            raise
        if answer["kind"] == "error":
            reason = self._with_log(process, _error_line(answer), of_worker=True)
            process.kill()
            raise StopRunError(f"{launch.name} could not load its model: {reason}")
        self._process = process
        return process

    def ask(self, tasks: Sequence[Json], attempts: int) -> list[Json]:
        """Send a batch and return one answer per task, in order.

        Raises WorkerError if every attempt ended the worker, WorkerAnswerError if it is alive and
        gave no valid answer, and StopRunError after too many failures in a row.
        """
        self._batch += 1
        frame = {"kind": "batch", "batch": self._batch, "tasks": list(tasks)}
        for left in reversed(range(attempts)):
            process = self.start()
            try:
                answer = process.ask(frame, "answers", self._launch.timeout_s)
                if answer["kind"] == "error" and answer.get("fatal"):
                    raise WorkerError("the worker lost its CUDA device")
                if answer.get("batch") != self._batch:
                    raise WorkerError("the worker answered another batch than it was asked")
            except WorkerError as error:
                self._lose(process, self._with_log(process, str(error)), left)
            except BaseException:  # Ctrl-C: the next message would answer the wrong batch
                process.kill()
                self._process = None
                raise
            else:
                self._failures = 0
                return self._checked(process, answer, tasks)
        raise AssertionError("attempts is 1 or more")

    @contextmanager
    def written(self, tasks: Sequence[Sequence[Image]]) -> Iterator[list[list[str]]]:
        """Write the images of each task as 8-bit grey PNG files, for the time of the batch.

        Yields the paths per task. Raises ImageError.
        """
        import PIL.Image

        self._scratch.mkdir(mode=0o700, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            paths: list[list[str]] = []
            for n, images in enumerate(tasks):
                paths.append([])
                for m, image in enumerate(images):
                    path = folder / f"{n}-{m}.png"
                    PIL.Image.fromarray(image.pixels()).save(path, "PNG", compress_level=1)
                    paths[n].append(str(path))
            yield paths
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """End the worker. Its log is kept if something went wrong."""
        if self._process:
            self._process.stop()
            if not self._failed:
                self._process.log.unlink(missing_ok=True)
            self._process = None
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _lose(self, process: WorkerProcess, reason: str, attempts_left: int) -> None:
        process.kill()
        self._process = None
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            raise StopRunError(
                f"{self._launch.name}: {self._failures} times in a row the worker gave no answer;"
                f" the last time {reason}"
            )
        if not attempts_left:
            raise WorkerError(reason)

    def _checked(self, process: WorkerProcess, answer: Json, tasks: Sequence[Json]) -> list[Json]:
        if answer["kind"] == "error":
            kind = OutOfMemoryError if answer.get("memory") is True else WorkerAnswerError
            raise kind(
                f"the worker raised {self._with_log(process, _error_line(answer), of_worker=True)}"
            )
        answers = answer.get("answers")
        if not isinstance(answers, list) or not all(isinstance(a, dict) for a in answers):
            raise WorkerAnswerError("the worker's answers are not a list of objects")
        if len(answers) != len(tasks):
            raise WorkerAnswerError(
                f"the worker was given {len(tasks)} studies and returned {len(answers)} answers"
            )
        if [a.get("id") for a in answers] != [t["id"] for t in tasks]:
            raise WorkerAnswerError("the worker's answers are not in the order of its tasks")
        if not all(isinstance(a.get("text"), str) for a in answers):
            raise WorkerAnswerError('an answer of the worker has no "text"')
        return answers

    def _with_log(self, process: WorkerProcess, reason: str, of_worker: bool = False) -> str:
        """Add the end of the worker's log to a reason, if it may be quoted, and the log's path."""
        self._failed = True
        if not self.quote:
            kept = reason.partition(":")[0] if of_worker else reason
            return f"{kept} (what it said: {process.log})"
        tail = "" if of_worker else process.tail()
        return f"{reason}{f': {tail}' if tail else ''} ({process.log})"


def _error_line(answer: Json) -> str:
    """Return an error message of the worker in one line: the exception's type and text."""
    kind = str(answer.get("type"))
    return f"{kind if kind.isidentifier() else 'an error'}: {str(answer.get('message'))[:500]}"
