"""Runs replicas of a model or an annotator on the GPUs of one machine or a cluster (engine=ray).

It joins the cluster that RAY_ADDRESS or engine.address names. Without one it starts a cluster on
this machine, whose files lie in a private folder that is removed with it. Ray is imported when work
begins. Its usage reports are off unless the user asks for them, its dashboard is off or listens on
loopback only, and its logs stay in its own files.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from reportcard.api import (
    Annotator,
    Json,
    ModelAdapter,
    Prediction,
    ReportCardError,
    StopRunError,
)
from reportcard.config.settings import EngineSettings
from reportcard.models.isolated.adapter import IsolatedAdapter
from reportcard.models.staged import StagedAdapter
from reportcard.predict.engines.failures import failed
from reportcard.predict.engines.job import AnnotatorJob, Job, ModelJob, batches
from reportcard.predict.engines.local import LocalEngine
from reportcard.predict.engines.ray_replicas import Lost, Replicas, Resources
from reportcard.predict.engines.ray_tempdir import PrivateFolder
from reportcard.predict.predictions_file import AnswerKey, answer_key

GPU_DRIVER = Path("/dev/nvidiactl")
JOIN_S = 60.0  # how long we wait for the nodes of a cluster that we join


class RayEngine:
    """A connection to Ray. `close` ends it, and stops a cluster that was started here."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._folder: PrivateFolder | None = None
        self._connected = self._joined = False

    def generate(
        self, job: ModelJob, batch_size: int, done: Set[AnswerKey] = frozenset()
    ) -> Generator[list[Prediction], None, None]:
        """Yield what LocalEngine yields, in the order in which batches are answered."""
        adapter, requests = job.adapter, job.requests
        if getattr(adapter, "independent", False):  # an endpoint needs no replicas
            yield from LocalEngine(self.settings).generate(job, batch_size, done)
            return
        cost = getattr(adapter, "cost", None)
        number = {id(request): n for n, request in enumerate(requests)}
        todo = [
            tuple(number[id(r)] for r in batch)
            for batch in batches(requests, batch_size, cost, self.settings.exact_buckets)
            if any(answer_key(r) not in done for r in batch)
        ]
        heavy = _wants_gpu(adapter)

        def wanted(item: Sequence[int]) -> bool:
            return any(answer_key(requests[n]) not in done for n in item)

        try:
            for item, result in self._map(job, todo, heavy, wanted):
                if isinstance(result, Lost):
                    result = [failed(requests[n], result.reason) for n in item]
                yield [answer for answer in result if answer_key(answer) not in done]
        except StopRunError as stop:
            yield [answer for answer in stop.answers if answer_key(answer) not in done]
            raise

    def annotate(
        self, annotator: Annotator, parts: Sequence[Sequence[Any]]
    ) -> Iterator[tuple[Sequence[Any], Sequence[Json | None]]]:
        """Yield (items, their notes) part by part; lost items have no note."""
        heavy = annotator.weights is not None
        for part, result in self._map(AnnotatorJob(annotator), list(parts), heavy, bool):
            if isinstance(result, Lost):
                result = [{"unscored": result.reason, "again": True}] * len(part)
            yield part, result

    def _map(
        self, job: Job, items: list[Any], heavy: bool, wanted: Callable[[Any], bool]
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (item, result) for all items.

        An item that two replicas were lost on is sent again in parts of one.

        Args:
            job: what the replicas run.
            items: what they work on.
            heavy: whether a replica takes a GPU where there are some.
            wanted: whether a part of a lost item still has to be answered.
        """
        self.connect()
        resources = self._resources(len(items), heavy)
        if resources.gpus and isinstance(job, ModelJob):
            _same_device(job.adapter)
        sent, single = _put(job), list[Any]()
        replicas = Replicas(sent, resources)
        for item, result in replicas.run(items):
            if isinstance(result, Lost) and len(item) > 1:
                parts = [item[n : n + 1] for n in range(len(item))]
                single += [part for part in parts if wanted(part)]
            else:
                yield item, result
        if replicas.notes:  # the adapter was started and fitted in other processes
            job.adapter.notes = replicas.notes  # type: ignore[attr-defined]
        if single:
            yield from Replicas(sent, replace(resources, depth=1)).run(single)

    def _resources(self, items: int, heavy: bool) -> Resources:
        """Return what a replica takes, and for how many the cluster has room.

        Raises ReportCardError when no node has room for one.
        """
        settings = self.settings
        until = time.monotonic() + (JOIN_S if self._joined else 0)
        while True:
            nodes = _nodes()
            gpus = settings.gpus_per_replica
            if gpus is None:
                gpus = 1.0 if heavy and any(node.get("GPU") for node in nodes) else 0.0
            room = sum(_room(node, settings.cpus_per_replica, gpus) for node in nodes)
            if room:
                break
            if time.monotonic() > until:  # nodes may still be joining
                most = [max((n.get(kind, 0) for n in nodes), default=0) for kind in ("CPU", "GPU")]
                raise ReportCardError(
                    f"engine=ray: a replica takes engine.cpus_per_replica="
                    f"{settings.cpus_per_replica:g} and engine.gpus_per_replica={gpus:g};"
                    f" no node of the cluster has more than {most[0]:g} CPUs and {most[1]:g} GPUs."
                )
            time.sleep(1)
        return Resources(
            replicas=max(1, min(settings.replicas or room, items)),
            cpus=settings.cpus_per_replica,
            gpus=gpus,
            hang_s=settings.hang_s,
        )

    def connect(self) -> None:
        """Join or start the cluster, once. Raises ReportCardError when that fails."""
        if self._connected:
            return
        settings = self.settings
        if not settings.usage_stats:
            os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # We report the loss of a replica ourselves; Ray prints a paragraph about it five times.
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
        os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")  # a busy machine is slow
        try:
            import ray
        except ImportError:
            raise ReportCardError(
                "engine=ray: Ray is not installed, run: pip install 'cxr-reportcard[ray]'"
            ) from None
        address = settings.address or os.environ.get("RAY_ADDRESS")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if address:
                _check_reachable(address)
                ray.init(address=address, **quiet)
            else:
                self._folder = PrivateFolder()
                self._start(quiet)
        except Exception as error:  # Ray raises bare Exception for a start that takes too long
            self._clean()
            where = f"the cluster at {address}" if address else "Ray on this machine"
            raise ReportCardError(
                f"engine=ray: {where} cannot be reached: {' '.join(str(error).split())[:300]}"
            ) from None
        except BaseException:  # Ctrl-C: stop what was started
            ray.shutdown()
            self._clean()
            raise
        self._connected, self._joined = True, bool(address)

    def _start(self, quiet: dict[str, Any]) -> None:
        """Start a cluster on this machine, in up to three tries: Ray gives each 30 s only."""
        import ray

        for left in (2, 1, 0):
            assert self._folder
            try:
                ray.init(
                    address="local",
                    include_dashboard=self.settings.dashboard,
                    dashboard_host="127.0.0.1",
                    _temp_dir=str(self._folder.inside),
                    **quiet,
                )
                return
            except Exception as error:
                ray.shutdown()
                if not left or "timed out" not in str(error):
                    raise

    def close(self) -> None:
        if self._connected:
            import ray

            ray.shutdown()
            self._connected = False
        self._clean()

    def _clean(self) -> None:
        if self._folder:
            self._folder.remove()
            self._folder = None


def _check_reachable(address: str) -> None:
    """Raise OSError when nobody listens at an address; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=30).close()


def _wants_gpu(adapter: ModelAdapter) -> bool:
    """Return whether a model takes a GPU where there are some."""
    if getattr(adapter, "device", None) == "cpu":
        return False
    return isinstance(adapter, StagedAdapter | IsolatedAdapter) or adapter.card.weights is not None


def _same_device(adapter: ModelAdapter) -> None:
    """Raise ReportCardError when device=auto means the CPU here and a GPU in the replicas.

    The model's fingerprint records what `auto` means on this machine, the driver's.
    """
    if isinstance(adapter, StagedAdapter) and adapter.device == "auto" and not GPU_DRIVER.exists():
        raise ReportCardError(
            "engine=ray: the replicas have GPUs and this machine has none, so that"
            " model.device=auto would mean two things. Give model.device=cuda."
        )


def _put(job: Job) -> Any:
    """Put the job into Ray's object store and return the reference.

    Classes of plugin files are pickled by value, since no other process can import them.
    Raises ReportCardError when the job cannot be pickled.
    """
    import ray

    for name, module in list(sys.modules.items()):
        if name.startswith("reportcard_plugin_"):
            ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    try:
        return ray.put(job)
    except Exception as error:  # cloudpickle raises errors of every kind
        plugin = getattr(job, "adapter", None) or getattr(job, "annotator", None)
        # Ray's message shows the job and its studies, so we quote only what cannot be pickled.
        what = re.search(r"cannot pickle '([\w.]+)' object", str(error))
        words = f"it holds a {what[1]}" if what else type(error).__name__
        raise ReportCardError(
            f"engine=ray: {type(plugin).__name__} cannot be sent to another process"
            f" ({words}). Open files, models and connections in the first"
            " call, not when it is constructed; or run it with engine=local."
        ) from None


def _nodes() -> list[dict[str, float]]:
    """Return the resources of each living node."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _room(node: dict[str, float], cpus: float, gpus: float) -> int:
    """Return for how many replicas one node has room. A share of a GPU lies on one GPU."""
    room = int(node.get("CPU", 0) / cpus + 1e-9)
    if not gpus:
        return room
    there = node.get("GPU", 0)
    return min(room, int(there) * int(1 / gpus + 1e-9) if gpus <= 1 else int(there / gpus))
