"""Ray actors that pull work, and what happens to the work when one of them dies or hangs.

A replica gets work once it has started; then the driver keeps two items with it, so that it never
waits for the next, and takes results as they come. A replica that dies or does not answer in time
is replaced, and what it held is given out again. An item that two replicas were lost on is not
given a third one: it is handed back as `Lost`, and whoever sent it can send its parts. So one
poisonous study costs its own answer. An item that a replica was lost on is given out alone: what
is prepared beside it can kill the process too, and would be blamed on it.

Ray's own max_restarts and max_task_retries stay at 0: they retry what hangs or kills for as often
as they are told, and count nothing per study (docs/decisions/0010-ray.md).
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

DEPTH = 2  # items with a replica: the one it works on, and the next
STRIKES = 2.0  # replicas that one item may cost
OF_NODE = 0.5  # strikes for a replica that may have gone with its node: that is rarely the item
POLL_S = 1.0
PATIENCE_S = 600.0  # for a first replica to be scheduled


@dataclass(frozen=True)
class Resources:
    """What one replica takes of the cluster, and when it is given up.

    deaths   per replica, in a row, without an answer between them: of replicas that were starting;
             of those at work, four times as many, for studies that kill may stand side by side
    depth    1: one item at a time, nothing prepared beside it
    """

    replicas: int
    cpus: float = 1.0
    gpus: float = 0.0
    hang_s: float = 900.0
    deaths: int = 3
    depth: int = DEPTH


@dataclass(frozen=True)
class Lost:
    """In the place of a result: why there is none, and how far that is the item's doing."""

    reason: str
    strikes: float = 1.0


class Host:
    """The actor: one job in one process. `coming` runs beside `work`."""

    def __init__(self, job: Job, folder: str) -> None:
        with contextlib.suppress(OSError):  # relative paths of the driver's settings
            os.chdir(folder)
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
    since: float = field(default_factory=time.monotonic)  # its present item became its first
    ready: bool = False


class Replicas:
    """Runs the items of one job on `resources.replicas` actors; closes them at the end."""

    def __init__(self, job: Any, resources: Resources) -> None:
        """job: a reference to one that was put into Ray's object store."""
        import ray

        self._ray, self._resources, self._job = ray, resources, job
        # Threads: work and coming side by side; Ray keeps the order within each group.
        actor: Any = ray.remote(concurrency_groups={"ahead": 1})(Host)  # type: ignore[call-overload]
        self._actor = actor.options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=0,
            max_task_retries=0,
        )
        self.notes: tuple[str, ...] | None = None  # of the first replica that started
        self._replicas: list[_Replica] = []
        self._strikes: dict[int, float] = {}  # by item number
        self._in_a_row = 0

    def run(self, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """(item, result or Lost), in the order in which they are done; without items, one replica
        is started for its notes.

        Raises ReportCardError when the job cannot start, or replicas keep dying without an answer,
        and what `work` raised.
        """
        queue = deque(range(len(items)))
        try:
            while queue or self.notes is None or any(r.held for r in self._replicas):
                self._hire(max(1, len(queue) + sum(len(r.held) for r in self._replicas)))
                self._fill(queue, items)
                for replica in self._finished():
                    if not replica.ready:
                        self._check_started(replica)
                        continue
                    number, result = self._take(replica)
                    if isinstance(result, Lost):
                        queue.extendleft(reversed(self._bury(replica, result.reason)))
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
        """Ask the jobs to free what they hold, briefly; then end the processes."""
        asked = [r.actor.close.remote() for r in self._replicas if r.ready and not r.held]
        with contextlib.suppress(Exception):
            self._ray.wait(asked, num_returns=len(asked), timeout=5) if asked else None
        for replica in self._replicas:
            with contextlib.suppress(Exception):
                self._ray.kill(replica.actor)
        self._replicas.clear()

    def _hire(self, items: int) -> None:
        """Replicas for what is left to do. Those for which there is no room wait in Ray's queue and
        hold nothing."""
        while len(self._replicas) < min(self._resources.replicas, items):
            actor = self._actor.remote(self._job, os.getcwd())
            self._replicas.append(_Replica(actor, actor.start.remote()))

    def _fill(self, queue: deque[int], items: Sequence[Any]) -> None:
        """Give each replica its next items, evenly: first to those who hold least."""
        while queue:
            alone = queue[0] in self._strikes
            free = [r for r in self._replicas if r.ready and len(r.held) < self._room(r, alone)]
            if not free:
                return
            least = min(free, key=lambda r: len(r.held))
            number = queue.popleft()
            if least.held:
                least.actor.coming.options(concurrency_group="ahead").remote(items[number])
            else:
                least.since = time.monotonic()
            least.held.append((least.actor.work.remote(items[number]), number))

    def _room(self, replica: _Replica, alone: bool) -> int:
        """How many items a replica may hold: one, where the next or one that it has is suspect."""
        suspect = alone or any(number in self._strikes for _, number in replica.held)
        return 1 if suspect else self._resources.depth

    def _finished(self) -> list[_Replica]:
        """Replicas that have started, or whose present item is answered, lost or overdue; after at
        most POLL_S."""
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
        return self._resources.hang_s + (0.0 if replica.ready else PATIENCE_S)

    def _check_started(self, replica: _Replica) -> None:
        """Note that a replica is ready, or bury it. Raises ReportCardError when none can start."""
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
            self._bury(replica, reason)
        except errors.RayTaskError as error:
            self._bury(replica, f"{type(error.cause).__name__} while it started")
        except errors.RayError as error:
            self._bury(replica, _why(error))
        else:
            if refused is not None:
                raise ReportCardError(refused)
            if self.notes is None:
                self.notes = notes
            replica.ready, replica.since = True, time.monotonic()

    def _take(self, replica: _Replica) -> tuple[int, Any]:
        """The present item of a replica and its result. Raises what the job raised."""
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
            result = Lost(_why(error), OF_NODE if self._with_node(error) else 1.0)
        if not isinstance(result, Lost):
            replica.held.popleft()
            replica.since = time.monotonic()
        return number, result

    def _with_node(self, error: Exception) -> bool:
        """Whether a replica may have gone with its node, and not by what it worked on."""
        errors = self._ray.exceptions
        vague = errors.ActorUnavailableError | errors.ObjectLostError | errors.NodeDiedError
        return isinstance(error, vague) or "node has died" in str(error)

    def _bury(self, replica: _Replica, reason: str) -> list[int]:
        """End a replica; returns the items that it held after its present one, without blame."""
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


_KEPT = "What was answered is kept; the same command goes on from there."


def _why(error: Exception) -> str:
    """A death in a few words. Why an actor could not be made is said in full: no plugin has run
    yet, so nothing of a report is in it."""
    if getattr(error, "_actor_init_failed", False):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"the replica could not be made: {lines[-1][:300]}"
    return f"the replica died ({type(error).__name__})"
