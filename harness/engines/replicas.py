"""Ray actors that pull work, and what happens to the work when one of them dies or hangs.

The driver keeps two items with each replica, so that none waits for the next, and takes results as
they come. A replica that dies or does not answer in time is replaced, and what it held is given
out again. An item that two replicas were lost on is not given a third one: it is handed back as
`Lost`, and whoever sent it can send its parts. So one poisonous study costs its own answer.

Ray's own max_restarts and max_task_retries stay at 0: they retry what hangs or kills for as often
as they are told, and count nothing per study (docs/decisions/0010-ray.md).
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.api import ReportCardError
from harness.engines.job import Job

DEPTH = 2  # items with a replica: the one it works on, and the next
STRIKES = 2  # replicas that one item may cost
POLL_S = 1.0
PATIENCE_S = 600.0  # for a first replica to be scheduled


@dataclass(frozen=True)
class Resources:
    """What one replica takes of the cluster, and when it is given up."""

    replicas: int
    cpus: float = 1.0
    gpus: float = 0.0
    hang_s: float = 900.0
    deaths: int = 3  # of replicas in a row, without an answer between them


@dataclass(frozen=True)
class Lost:
    """In the place of a result: why there is none."""

    reason: str


class Host:
    """The actor: one job in one process. `coming` runs beside `work`."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def start(self) -> tuple[str | None, tuple[str, ...]]:
        """(None, or why nothing of this job can run; what it has to tell of its start)."""
        try:
            self._job.start()
        except ReportCardError as error:
            return str(error), ()
        return None, self._job.notes

    def work(self, item: Any) -> Any:
        return self._job.work(item)

    def coming(self, item: Any) -> None:
        self._job.coming(item)

    def close(self) -> None:
        self._job.close()


@dataclass(eq=False)
class _Replica:
    actor: Any
    started: Any  # ref of start()
    held: deque[tuple[Any, int]] = field(default_factory=deque)  # (ref, item number), in order
    since: float = field(default_factory=time.monotonic)  # when its present item became its first
    ready: bool = False


class Replicas:
    """Runs the items of one job on `resources.replicas` actors; closes them at the end."""

    def __init__(self, job: Job, resources: Resources) -> None:
        import ray

        self._ray, self._resources = ray, resources
        try:
            self._job = ray.put(job)
        except Exception as error:  # cloudpickle's errors are of every kind
            raise ReportCardError(
                f"engine=ray: this plugin cannot be sent to another process: {error}"
            ) from None
        # Threads: work and coming side by side; Ray keeps the order within each group.
        actor: Any = ray.remote(concurrency_groups={"ahead": 1})(Host)  # type: ignore[call-overload]
        self._actor = actor.options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=0,
            max_task_retries=0,
        )
        self.notes: tuple[str, ...] = ()
        self._replicas: list[_Replica] = []
        self._in_a_row = 0
        self._ever = False

    def run(self, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """(item, result or Lost), in the order in which they are done.

        Raises ReportCardError when the job cannot start, or replicas keep dying without an answer.
        """
        queue = deque(range(len(items)))
        strikes = [0] * len(items)
        try:
            while queue or any(r.held for r in self._replicas):
                self._fill(queue, items)
                for replica in self._finished():
                    number, result = self._take(replica)
                    if isinstance(result, Lost):
                        again = self._bury(replica, number)
                        queue.extendleft(reversed(again))
                        strikes[number] += 1
                        if strikes[number] < STRIKES:
                            queue.appendleft(number)
                            continue
                    else:
                        self._in_a_row, self._ever = 0, True
                    yield items[number], result
        finally:
            self.close()

    def close(self) -> None:
        """Ask the jobs to free what they hold, briefly; then end the processes."""
        asked = [r.actor.close.remote() for r in self._replicas if r.ready and not r.held]
        with contextlib.suppress(Exception):
            self._ray.wait(asked, num_returns=len(asked), timeout=5) if asked else None
        for replica in self._replicas:
            with contextlib.suppress(Exception):
                self._ray.kill(replica.actor)
        self._replicas.clear()

    def _fill(self, queue: deque[int], items: Sequence[Any]) -> None:
        """Give each replica its next items, evenly: first to those who hold least."""
        while queue:
            free = [r for r in self._replicas if len(r.held) < DEPTH]
            least = min(free, key=lambda r: len(r.held), default=None)
            if len(self._replicas) < self._resources.replicas and (least is None or least.held):
                least = self._hire()
            if least is None:
                return
            number = queue.popleft()
            if least.held:
                least.actor.coming.options(concurrency_group="ahead").remote(items[number])
            else:
                least.since = time.monotonic()
            least.held.append((least.actor.work.remote(items[number]), number))

    def _hire(self) -> _Replica:
        actor = self._actor.remote(self._job)
        replica = _Replica(actor, actor.start.remote())
        self._replicas.append(replica)
        return replica

    def _finished(self) -> list[_Replica]:
        """Replicas whose present item is answered, lost or overdue, after at most POLL_S."""
        waiting = {self._head(r): r for r in self._replicas if r.held}
        done, _ = self._ray.wait(list(waiting), num_returns=1, timeout=POLL_S)
        more, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        finished = [waiting[ref] for ref in dict.fromkeys([*done, *more])]
        for replica in [r for r in finished if not r.ready]:
            finished.remove(replica)
            if self._check_started(replica):
                finished.append(replica)
        now = time.monotonic()
        return finished + [
            r for r in waiting.values() if r not in finished and now - r.since > self._limit(r)
        ]

    def _head(self, replica: _Replica) -> Any:
        return replica.held[0][0] if replica.ready else replica.started

    def _limit(self, replica: _Replica) -> float:
        return self._resources.hang_s if replica.ready else self._resources.hang_s + PATIENCE_S

    def _check_started(self, replica: _Replica) -> bool:
        """Whether a replica that has answered `start` has died of it."""
        try:
            refused, self.notes = self._ray.get(replica.started)
        except self._ray.exceptions.RayError:
            return True
        if refused is not None:
            raise ReportCardError(refused)
        replica.ready, replica.since = True, time.monotonic()
        return False

    def _take(self, replica: _Replica) -> tuple[int, Any]:
        """The present item of a replica and its result."""
        ref, number = replica.held[0]
        limit = self._limit(replica)
        if not replica.ready:
            return number, Lost(self._why_not_started(replica))
        try:
            done, _ = self._ray.wait([ref], timeout=0)
            if not done:
                return number, Lost(f"no answer within {limit:g} s")
            result = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, ReportCardError):
                raise cause from None
            return number, Lost(f"{type(cause).__name__} in the replica")
        except self._ray.exceptions.RayError as error:
            return number, Lost(f"the replica died ({type(error).__name__})")
        replica.held.popleft()
        replica.since = time.monotonic()
        return number, result

    def _why_not_started(self, replica: _Replica) -> str:
        try:
            self._ray.get(replica.started, timeout=0)
        except self._ray.exceptions.GetTimeoutError:
            return (
                f"no replica within {self._limit(replica):g} s: has one node of the cluster"
                f" {self._resources.cpus:g} CPUs and {self._resources.gpus:g} GPUs free?"
            )
        except self._ray.exceptions.RayTaskError as error:
            return f"{type(error.cause).__name__} while it started"
        except self._ray.exceptions.RayError as error:
            return f"the replica died ({type(error).__name__})"
        return "the replica died"

    def _bury(self, replica: _Replica, number: int) -> list[int]:
        """End a replica; returns the other items that it held, without blame."""
        self._in_a_row += 1
        reason = "" if replica.ready else f": {self._why_not_started(replica)}"
        with contextlib.suppress(Exception):
            self._ray.kill(replica.actor)
        self._replicas.remove(replica)
        if self._in_a_row > self._resources.deaths * self._resources.replicas:
            raise ReportCardError(
                f"engine=ray: {self._in_a_row} replicas were lost in a row without an"
                f" answer{reason}. What was answered is kept; the same command goes on from there."
            )
        return [held for _, held in replica.held if held != number]
