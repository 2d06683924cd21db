"""Distributes work over Ray actors (replicas), and redistributes it when one dies or hangs.

A replica gets work once it has started. The driver keeps two items with each, so that no replica
waits for the next one, and takes results as they come. A replica that dies or does not answer in
time is replaced, and its items are given to others. An item that two replicas were lost on is not
tried a third time: it is returned as `Lost`, and the caller can send its parts. So one study that
kills the process costs its own answer only. An item that one replica was lost on is then worked on
alone, because inputs that are prepared beside it could kill the process as well.

Ray's own max_restarts and max_task_retries stay at 0: they would retry a study that hangs or kills
without counting (docs/decisions/0010-ray.md).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from reportcard.api import ReportCardError
from reportcard.predict.engines.job import Job

DEPTH = 2  # items per replica: the one it works on, and the next
STRIKES = 2.0  # how many replicas one item may kill
NODE_STRIKES = 0.5  # for a replica that may have died with its node, rarely by the item
POLL_S = 1.0
SCHEDULING_S = 600.0  # how long Ray may take to schedule a first replica


@dataclass(frozen=True)
class Resources:
    """What one replica takes of the cluster, and when we give up.

    replicas  how many run at once
    cpus      CPU cores per replica
    gpus      GPUs per replica; a fraction shares one
    hang_s    seconds without an answer after which a replica is replaced
    deaths    how many deaths in a row (times `replicas`) end the run when replicas die while they
              start; four times as many while they work, since several studies that kill the
              process may follow each other
    depth     items per replica; 1: nothing is prepared beside the item
    """

    replicas: int
    cpus: float = 1.0
    gpus: float = 0.0
    hang_s: float = 900.0
    deaths: int = 3
    depth: int = DEPTH


@dataclass(frozen=True)
class Lost:
    """Takes the place of a result: why there is none, and how much the item is to blame."""

    reason: str
    strikes: float = 1.0


class Host:
    """The Ray actor: one job in one process. `announce` runs beside `work`."""

    def __init__(self, job: Job, folder: str) -> None:
        with contextlib.suppress(OSError):  # so that relative paths in the settings mean the same
            os.chdir(folder)
        self._job = job

    def start(self) -> tuple[str | None, tuple[str, ...]]:
        """Start the job. Returns (the reason why it cannot run, or None; its notes)."""
        try:
            self._job.start()
        except ReportCardError as error:
            return str(error), ()
        return None, self._job.notes

    def work(self, item: Any) -> Any:
        return self._job.work(item)

    def announce(self, item: Any) -> None:
        self._job.announce(item)

    def close(self) -> None:
        self._job.close()


@dataclass(eq=False)
class _Replica:
    actor: Any
    started: Any  # ref of start()
    held: deque[tuple[Any, int]] = field(default_factory=deque)  # (ref, item number), in order
    since: float = field(default_factory=time.monotonic)  # when it began its current item
    ready: bool = False


class Replicas:
    """Runs the items of one job on `resources.replicas` actors and closes them at the end."""

    def __init__(self, job: Any, resources: Resources) -> None:
        """job: a reference to a job in Ray's object store."""
        import ray

        self._ray, self._resources, self._job = ray, resources, job
        # `work` and `announce` run side by side; Ray keeps the order within each group.
        actor: Any = ray.remote(concurrency_groups={"ahead": 1})(Host)  # type: ignore[call-overload]
        self._actor = actor.options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=0,
            max_task_retries=0,
        )
        self.notes: tuple[str, ...] | None = None  # from the first replica that started
        self._replicas: list[_Replica] = []
        self._strikes: dict[int, float] = {}  # by item number
        self._in_a_row = 0

    def run(self, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield (item, result or Lost), in the order in which items are finished.

        Without items, one replica is started for its notes. Raises ReportCardError when the job
        cannot start or replicas keep dying without an answer, and what `work` raised.
        """
        queue = deque(range(len(items)))
        try:
            while queue or self.notes is None or any(r.held for r in self._replicas):
                self._start_replicas(max(1, len(queue) + sum(len(r.held) for r in self._replicas)))
                self._assign(queue, items)
                for replica in self._finished():
                    if not replica.ready:
                        self._check_started(replica)
                        continue
                    number, result = self._result_of(replica)
                    if isinstance(result, Lost):
                        queue.extendleft(reversed(self._discard(replica, result.reason)))
                        strikes = self._strikes.get(number, 0.0) + result.strikes
                        self._strikes[number] = strikes
                        if strikes < STRIKES:
                            queue.appendleft(number)
                            continue
                    else:
                        self._in_a_row = 0
                    yield items[number], result
        finally:
            self.close()

    def close(self) -> None:
        """Give the jobs five seconds to free what they hold, then end the processes."""
        asked = [r.actor.close.remote() for r in self._replicas if r.ready and not r.held]
        with contextlib.suppress(Exception):
            self._ray.wait(asked, num_returns=len(asked), timeout=5) if asked else None
        for replica in self._replicas:
            with contextlib.suppress(Exception):
                self._ray.kill(replica.actor)
        self._replicas.clear()

    def _start_replicas(self, items: int) -> None:
        """Start as many replicas as the remaining items need.

        Replicas for which there is no room wait in Ray's queue and hold no resources.
        """
        while len(self._replicas) < min(self._resources.replicas, items):
            actor = self._actor.remote(self._job, os.getcwd())
            self._replicas.append(_Replica(actor, actor.start.remote()))

    def _assign(self, queue: deque[int], items: Sequence[Any]) -> None:
        """Give each replica its next items, first to those that hold the fewest."""
        while queue:
            alone = queue[0] in self._strikes
            free = [r for r in self._replicas if r.ready and len(r.held) < self._room(r, alone)]
            if not free:
                return
            least = min(free, key=lambda r: len(r.held))
            number = queue.popleft()
            if least.held:
                least.actor.announce.options(concurrency_group="ahead").remote(items[number])
            else:
                least.since = time.monotonic()
            least.held.append((least.actor.work.remote(items[number]), number))

    def _room(self, replica: _Replica, alone: bool) -> int:
        """Return how many items a replica may hold: one when an item is under suspicion."""
        suspect = alone or any(number in self._strikes for _, number in replica.held)
        return 1 if suspect else self._resources.depth

    def _finished(self) -> list[_Replica]:
        """Wait up to POLL_S and return the replicas that need attention.

        Those have started, or their current item is answered, lost or overdue.
        """
        waiting = {self._head(r): r for r in self._replicas if r.held or not r.ready}
        done, _ = self._ray.wait(list(waiting), num_returns=1, timeout=POLL_S)
        more, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        finished = [waiting[ref] for ref in dict.fromkeys([*done, *more])]
        now = time.monotonic()
        return finished + [
            r for r in waiting.values() if r not in finished and now - r.since > self._limit(r)
        ]

    def _head(self, replica: _Replica) -> Any:
        return replica.held[0][0] if replica.ready else replica.started

    def _limit(self, replica: _Replica) -> float:
        return self._resources.hang_s + (0.0 if replica.ready else SCHEDULING_S)

    def _check_started(self, replica: _Replica) -> None:
        """Mark a replica as ready, or discard it. Raises ReportCardError when none can start."""
        errors = self._ray.exceptions
        try:
            refused, notes = self._ray.get(replica.started, timeout=0)
        except errors.GetTimeoutError:
            reason = (
                f"no replica within {self._limit(replica):g} s: has one node of the cluster"
                f" {self._resources.cpus:g} CPUs and {self._resources.gpus:g} GPUs free?"
            )
            if not any(r.ready for r in self._replicas):
                raise ReportCardError(f"engine=ray: {reason} {_KEPT}") from None
            self._discard(replica, reason)
        except errors.RayTaskError as error:
            self._discard(replica, f"{type(error.cause).__name__} while it started")
        except errors.RayError as error:
            self._discard(replica, _why(error))
        else:
            if refused is not None:
                raise ReportCardError(refused)
            if self.notes is None:
                self.notes = notes
            replica.ready, replica.since = True, time.monotonic()

    def _result_of(self, replica: _Replica) -> tuple[int, Any]:
        """Return the current item of a replica and its result. Raises what the job raised."""
        errors = self._ray.exceptions
        ref, number = replica.held[0]
        try:
            result = self._ray.get(ref, timeout=0)
        except errors.GetTimeoutError:
            result = Lost(f"no answer within {self._limit(replica):g} s")
        except errors.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise
        except errors.RayError as error:
            result = Lost(_why(error), NODE_STRIKES if self._with_node(error) else 1.0)
        if not isinstance(result, Lost):
            replica.held.popleft()
            replica.since = time.monotonic()
        return number, result

    def _with_node(self, error: Exception) -> bool:
        """Return whether a replica may have died with its node, and not by its item."""
        errors = self._ray.exceptions
        vague = errors.ActorUnavailableError | errors.ObjectLostError | errors.NodeDiedError
        return isinstance(error, vague) or "node has died" in str(error)

    def _discard(self, replica: _Replica, reason: str) -> list[int]:
        """End a replica. Returns the items that waited behind its current one."""
        self._in_a_row += 1
        with contextlib.suppress(Exception):
            self._ray.kill(replica.actor)
        self._replicas.remove(replica)
        limit = self._resources.deaths * self._resources.replicas * (4 if replica.ready else 1)
        if self._in_a_row > limit:
            raise ReportCardError(
                f"engine=ray: {self._in_a_row} replicas were lost in a row without an answer;"
                f" the last: {reason}. {_KEPT}"
            )
        return [number for _, number in list(replica.held)[1:]]


_KEPT = "Earlier answers are kept; run the same command again to continue."


def _why(error: Exception) -> str:
    """Describe a death in a few words.

    The reason why an actor could not be made is quoted: no plugin has run yet, so it cannot
    contain report text.
    """
    if getattr(error, "_actor_init_failed", False):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"the replica could not be made: {lines[-1][:300]}"
    return f"the replica died ({type(error).__name__})"
