"""IsolatedAdapter is the base class of models whose packages conflict with ours.

    Request ──task──▶ Task ──PNG, JSON──▶ worker.py ──JSON──▶ answer ──report──▶ Report
            (here)         (its own Python, its own packages)         (here)

`task` and `report` run here and need none of the model's packages; everything that needs them is in
the worker. environments.py builds the environment once; supervised.py starts, watches and restarts
the worker. docs/models/isolated.md is the guide.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from reportcard.api import (
    Custody,
    Image,
    Json,
    ModelCard,
    Prediction,
    Report,
    ReportCardError,
    Request,
    Status,
)
from reportcard.core.files import digest, file_digest, read_text
from reportcard.core.model_answer import answer_in
from reportcard.core.python_source import code_digest
from reportcard.models.checkpoints import Checkpoint, locate
from reportcard.models.isolated import worker_main
from reportcard.models.isolated.environments import environment, interpreter
from reportcard.models.isolated.frames import WorkerError
from reportcard.models.isolated.supervised import Launch, SupervisedWorker, WorkerAnswerError
from reportcard.models.staged import DTYPES, Prompt, answered


@dataclass(frozen=True, slots=True)
class Task:
    """Task is what the worker receives for one request.

    prompt   the exact text, if the model takes one
    images   in the order in which the model takes them; the worker gets their files as "images"
    more     further fields of the task
    used, left_out   as in staged.Prompt
    """

    prompt: str = ""
    images: tuple[Image, ...] = ()
    more: Json = field(default_factory=dict)
    used: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


class IsolatedAdapter(ABC):
    """IsolatedAdapter is what a model with an environment of its own extends.

    Class attributes of the adapter:
    requirements   the path of its requirements.txt
    worker         the path of its worker script
    needs          files that a checkpoint must hold
    options        its own options with their defaults; the worker gets them as settings
    files          those of its options that name a file or folder
    paper_dtype, paper_tokens   what dtype=auto means on a GPU, and the paper's limit
    silence_s      seconds without a heartbeat after which the worker hangs

    Options of every adapter:
    weights, max_new_tokens, dtype, device, batch_size   as in staged.StagedAdapter
    env               a Python that has the packages, instead of an environment built here
    timeout_s         seconds for one batch
    start_timeout_s   seconds to start and load
    """

    requirements: ClassVar[Path]
    worker: ClassVar[Path]
    needs: ClassVar[tuple[str, ...]] = ("config.json",)
    options: ClassVar[Mapping[str, Any]] = {}
    files: ClassVar[tuple[str, ...]] = ()
    paper_dtype: ClassVar[str] = "bfloat16"
    paper_tokens: ClassVar[int] = 512
    silence_s: ClassVar[float] = 120.0

    def __init__(
        self,
        weights: str | None = None,
        max_new_tokens: int | None = None,
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int = 8,
        env: str | None = None,
        timeout_s: float = 600.0,
        start_timeout_s: float = 1800.0,
        **own: Any,
    ) -> None:
        name = type(self).__name__
        if unknown := sorted(own.keys() - self.options.keys()):
            known = ", ".join(self.options) or "no options but the shared ones"
            raise ReportCardError(f"{name} has no option {unknown[0]!r}; it has {known}.")
        if dtype not in DTYPES:
            raise ReportCardError(f"{name}: dtype is one of {', '.join(DTYPES)}, not {dtype!r}.")
        limit = self.paper_tokens if max_new_tokens is None else max_new_tokens
        for option, value in (("batch_size", batch_size), ("max_new_tokens", limit)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ReportCardError(
                    f"{name}: {option} must be a whole number from 1 up, not {value!r}."
                )
        for option, seconds in (("timeout_s", timeout_s), ("start_timeout_s", start_timeout_s)):
            if not isinstance(seconds, int | float) or not seconds > 0:
                raise ReportCardError(f"{name}: {option} must be above 0, not {seconds!r}.")
        self.weights, self.max_new_tokens, self.batch_size = weights, limit, batch_size
        self.device = device if device != "auto" else "cuda" if _gpu_here() else "cpu"
        cpu = self.device == "cpu"
        self.dtype = dtype if dtype != "auto" else "float32" if cpu else self.paper_dtype
        self.env, self.timeout_s, self.start_timeout_s = env, timeout_s, start_timeout_s
        self.own = {**self.options, **own}
        self.notes: tuple[str, ...] = ()
        self.say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)
        self._quote = False  # until `admit` says that the data is open
        self._supervised: SupervisedWorker | None = None
        self._gave_up: set[tuple[str, int]] = set()

    # An adapter implements these; they run here and have no side effects.

    @property
    def base_card(self) -> ModelCard:
        """The model card without the weights: a class attribute, or a property."""
        raise NotImplementedError(f"{type(self).__name__} has no base_card.")

    @abstractmethod
    def task(self, request: Request) -> Task:
        """Build the task. Raises ReportCardError if the request lacks an input that is needed."""

    def report(self, request: Request, answer: Json) -> Report:
        """Parse the worker's answer; by default all of its text is the findings.

        answer["text"] is a string without the thoughts of a reasoning model; the other fields are
        unchecked.
        """
        return Report(findings=answer["text"].strip())

    def options_problem(self) -> str | None:
        """Return a sentence if the adapter's own options do not allow a run, else None."""
        return None

    # An adapter inherits these.

    @property
    def card(self) -> ModelCard:
        """The model card: `base_card` with the weights."""
        base = self.base_card
        return replace(base, weights=base.weights or self.weights_identity)

    @property
    def weights_identity(self) -> str | None:
        """Identifies the weights for the card: a folder that moves stays the same model."""
        try:
            return self._checkpoint().identity
        except ReportCardError:
            return None  # preflight says why it cannot run

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides the answers and is known without starting the worker."""
        return {
            "worker": [code_digest(self.worker), code_digest(Path(worker_main.__file__))],
            "requirements": _requirements(self.requirements),
            "env": self.env,
            "weights": self.weights_identity,
            "max_new_tokens": self.max_new_tokens,
            "dtype": self.dtype,
            **{k: _content(v) if k in self.files else v for k, v in self.own.items()},
        }

    def missing(self) -> str | None:
        """Return None if the model can run, else a sentence: what is missing and what to do."""
        try:
            self._checkpoint()
            for option in self.files:
                value = self.own[option]
                if value is not None and not Path(value).expanduser().exists():
                    return f"model.{option}: there is nothing at {value}."
            if reason := self.options_problem():
                return reason
            if self.env is None:
                interpreter(self._name, self.requirements)
            elif not os.access(Path(self.env).expanduser(), os.X_OK) or Path(self.env).is_dir():
                return f"model.env: {self.env} is no Python interpreter (…/bin/python)."
        except ReportCardError as error:
            return str(error)
        return None

    def prompt(self, request: Request) -> Prompt:
        """Return the prompt that the worker receives, without ids, for `reportcard prompt`."""
        task = self.task(request)
        return Prompt(
            task.prompt,
            task.images,
            self.max_new_tokens,
            used=task.used,
            left_out=task.left_out,
        )

    def admit(self, custody: Custody) -> None:
        """Allow any data, because none leaves this machine; quote the worker for open data only."""
        self._quote = custody.data.data_class == "open"

    def plan(self, requests: Sequence[Request]) -> None:
        """Build the environment, start the worker and load, so that it fails before any batch."""
        self._started()

    def generate(self, requests: Sequence[Request]) -> list[Prediction]:
        """Send a batch to the worker and return its predictions, in order."""
        if not requests:
            return []
        tasks = [self.task(request) for request in requests]
        keys = [(request.study_id, request.draw) for request in requests]
        again = len(keys) > 1 or keys[0] not in self._gave_up
        worker = self._started()
        with worker.written([task.images for task in tasks]) as paths:
            sent = [
                {**task.more, "id": n, "prompt": task.prompt, "images": files}
                for n, (task, files) in enumerate(zip(tasks, paths, strict=True))
            ]
            try:
                answers = worker.ask(sent, attempts=2 if again else 1)
            except WorkerError:
                self._gave_up.update(keys)  # the engine now asks for each study alone, once
                raise
        return [self._prediction(*each) for each in zip(requests, tasks, answers, strict=True)]

    def close(self) -> None:
        """End the worker."""
        if self._supervised:
            self._supervised.close()
            self._supervised = None

    @property
    def _name(self) -> str:
        return type(self).__module__.rpartition(".")[2].removeprefix("reportcard_plugin_")

    def _checkpoint(self) -> Checkpoint:
        return locate(self.weights, self.needs)

    def _started(self) -> SupervisedWorker:
        worker = self._worker()
        worker.start()
        self.notes = (f"worker: {_versions(worker.versions)}",)
        return worker

    def _worker(self) -> SupervisedWorker:
        if self._supervised is None:
            checkpoint = self._checkpoint()
            python = Path(self.env).expanduser() if self.env else None
            settings = {
                **{k: _absolute(v) if k in self.files else v for k, v in self.own.items()},
                "weights": str(checkpoint.folder.resolve()),
                "max_new_tokens": self.max_new_tokens,
                "dtype": self.dtype,
                "device": self.device,
            }
            launch = Launch(
                self._name,
                python or environment(self._name, self.requirements, self.say),
                self.worker,
                settings,
                self.timeout_s,
                self.start_timeout_s,
                self.silence_s,
            )
            self._supervised = SupervisedWorker(launch)
        self._supervised.quote = self._quote
        return self._supervised

    def _prediction(self, request: Request, task: Task, answer: Json) -> Prediction:
        report = self.report(request, {**answer, "text": answer_in(answer["text"])})
        status: Status = "ok" if _finished(answer) else "truncated"
        if not answered(report, answer["text"]):
            status = "empty"
        return Prediction(
            request.study_id,
            report,
            raw=answer["text"],
            status=status,
            used=task.used,
            tokens_in=_count(answer, "tokens_in"),
            tokens_out=_count(answer, "tokens_out"),
            draw=request.draw,
        )


def _requirements(path: Path) -> str:
    """Return the digest of a requirements file without its comments and blank lines."""
    lines = (line.partition(" #")[0].strip() for line in read_text(path).splitlines())
    return digest([line for line in lines if line and not line.startswith("#")])


def _finished(answer: Json) -> bool:
    """Return "finished". Raises WorkerAnswerError unless it is true, false or left out."""
    value = answer.get("finished", True)
    if not isinstance(value, bool):
        raise WorkerAnswerError('"finished" of a worker\'s answer is neither true nor false')
    return value


def _count(answer: Json, name: str) -> int | None:
    """Return a number of tokens. Raises WorkerAnswerError unless it is one, null or left out."""
    value = answer.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise WorkerAnswerError(f'"{name}" of a worker\'s answer is no number of tokens')
    return value


def _gpu_here() -> bool:
    """Return whether an NVIDIA GPU is visible; this Python may have no torch to ask."""
    return Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


def _content(value: Any) -> str | None:
    """Return the digest of a file, or of the Python files of a folder."""
    path = Path(value).expanduser() if value is not None else None
    if path is None or not path.exists():
        return None
    if path.is_file():
        return file_digest(path)
    sources = sorted(p for p in path.rglob("*.py") if p.is_file())
    return digest({str(p.relative_to(path)): file_digest(p) for p in sources})


def _absolute(value: Any) -> str | None:
    return None if value is None else str(Path(value).expanduser().resolve())


def _versions(hello: Json) -> str:
    known = ("python", "torch", "transformers", "cuda", "gpu")
    return ", ".join(f"{name} {hello[name]!s:.60}" for name in known if hello.get(name))
