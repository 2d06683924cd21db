"""A worker that is started, fed, started again when it cannot go on, and given up in the end.

A batch that ends the worker is tried once more with a new one; then it is the engine's to ask study
by study. Nothing that the worker says is quoted unless the data is open: an exception's message and
stderr may hold a report.
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
IN_VAIN = 6  # times in a row without an answer, after which the model's run stops


class WorkerAnswerError(ReportCardError):
    """The worker goes on, but this batch has no answer."""


class OutOfMemoryError(WorkerAnswerError):
    """The worker's device had no memory; the engine halves the batch."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a worker is started. settings: what its load() is given."""

    name: str
    python: Path
    worker: Path
    settings: Json
    timeout_s: float
    start_timeout_s: float
    silence_s: float


class SupervisedWorker:
    """At most one process at a time, and a private folder for the images of a batch."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self.quote = False  # until we are told that the data is open
        self.versions: Json = {}
        self._process: WorkerProcess | None = None
        self._failed = False
        self._in_vain = 0
        self._batch = 0
        self._scratch = Path(tempfile.mkdtemp(prefix="reportcard-"))
        weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> WorkerProcess:
        """A worker with its model loaded. Raises StopRunError: no later study would fare better."""
        if self._process:
            return self._process
        launch = self._launch
        self._scratch.mkdir(mode=0o700, exist_ok=True)  # a worker that was told to end removes it
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
            reason = self._said(process, str(error))
            process.kill()
            raise StopRunError(f"{launch.name} did not start: {reason}") from None
        except BaseException:
            process.kill()
            raise
        if answer["kind"] == "error":
            reason = self._said(process, _words(answer), of_worker=True)
            process.kill()
            raise StopRunError(f"{launch.name} could not load its model: {reason}")
        self._process = process
        return process

    def ask(self, tasks: Sequence[Json], attempts: int) -> list[Json]:
        """One answer per task, in order. Raises WorkerError when every attempt ended the worker,
        WorkerAnswerError when it lives and has no answer, StopRunError when it is given up."""
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
                self._lose(process, self._said(process, str(error)), left)
            except BaseException:  # Ctrl-C: what is in the stream now answers nobody
                process.kill()
                self._process = None
                raise
            else:
                self._in_vain = 0
                return self._checked(process, answer, tasks)
        raise AssertionError("attempts is 1 or more")

    @contextmanager
    def written(self, tasks: Sequence[Sequence[Image]]) -> Iterator[list[list[str]]]:
        """Per task the files of its images: 8-bit grey PNG, for the time of the batch. Raises
        ImageError."""
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
        """End the worker. Its log stays where something went wrong."""
        if self._process:
            self._process.stop()
            if not self._failed:
                self._process.log.unlink(missing_ok=True)
            self._process = None
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _lose(self, process: WorkerProcess, reason: str, attempts_left: int) -> None:
        process.kill()
        self._process = None
        self._in_vain += 1
        if self._in_vain >= IN_VAIN:
            raise StopRunError(
                f"{self._launch.name}: {self._in_vain} times in a row the worker gave no answer;"
                f" the last time {reason}"
            )
        if not attempts_left:
            raise WorkerError(reason)

    def _checked(self, process: WorkerProcess, answer: Json, tasks: Sequence[Json]) -> list[Json]:
        if answer["kind"] == "error":
            kind = OutOfMemoryError if answer.get("memory") is True else WorkerAnswerError
            raise kind(f"the worker raised {self._said(process, _words(answer), of_worker=True)}")
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

    def _said(self, process: WorkerProcess, reason: str, of_worker: bool = False) -> str:
        """A reason with the worker's last words where they may be quoted, and where they stand."""
        self._failed = True
        if not self.quote:
            kept = reason.partition(":")[0] if of_worker else reason
            return f"{kept} (what it said: {process.log})"
        tail = "" if of_worker else process.tail()
        return f"{reason}{f': {tail}' if tail else ''} ({process.log})"


def _words(answer: Json) -> str:
    """An error frame in one line: the exception's type, a colon, its message."""
    kind = str(answer.get("type"))
    return f"{kind if kind.isidentifier() else 'an error'}: {str(answer.get('message'))[:500]}"
