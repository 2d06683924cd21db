"""engine=ray: replicas of a model or an annotator on the GPUs of one machine or a cluster.

A cluster that RAY_ADDRESS (or engine.address) names is joined; else one is started here, with its
files in a private folder that goes with it. Ray is imported when it is used. Its usage reports are
off unless asked for, its dashboard is off or on loopback, and its logs stay in its own files.
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
from reportcard.predict.engines.batching import batches
from reportcard.predict.engines.job import AnnotatorJob, Job, ModelJob
from reportcard.predict.engines.local import LocalEngine
from reportcard.predict.engines.ray_replicas import Lost, Replicas, Resources
from reportcard.predict.engines.ray_tempdir import PrivateFolder
from reportcard.predict.engines.worker import Key, failed, key

GPU_DRIVER = Path("/dev/nvidiactl")
JOIN_S = 60.0  # for the nodes of a cluster that we join to be there


class RayEngine:
    """One connection to Ray for an invocation; `close` ends it, and a cluster started here."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._folder: PrivateFolder | None = None
        self._connected = self._joined = False

    def generate(
        self, job: ModelJob, batch_size: int, done: Set[Key] = frozenset()
    ) -> Generator[list[Prediction], None, None]:
        """As LocalEngine's, batches in the order in which they are answered."""
        adapter, requests = job.adapter, job.requests
        if getattr(adapter, "independent", False):  # what asks an endpoint gains nothing from this
            yield from LocalEngine(self.settings).generate(job, batch_size, done)
            return
        cost = getattr(adapter, "cost", None)
        number = {id(request): n for n, request in enumerate(requests)}
        todo = [
            tuple(number[id(r)] for r in batch)
            for batch in batches(requests, batch_size, cost, self.settings.exact_buckets)
            if any(key(r) not in done for r in batch)
        ]
        heavy = _heavy(adapter)

        def wanted(item: Sequence[int]) -> bool:
            return any(key(requests[n]) not in done for n in item)

        try:
            for item, result in self._map(job, todo, heavy, wanted):
                if isinstance(result, Lost):
                    result = [failed(requests[n], result.reason) for n in item]
                yield [answer for answer in result if key(answer) not in done]
        except StopRunError as stop:
            yield [answer for answer in stop.answers if key(answer) not in done]
            raise

    def annotate(
        self, annotator: Annotator, parts: Sequence[Sequence[Any]]
    ) -> Iterator[tuple[Sequence[Any], Sequence[Json | None]]]:
        """(items, notes) part by part; what replicas were lost on has no note."""
        heavy = annotator.weights is not None
        for part, result in self._map(AnnotatorJob(annotator), list(parts), heavy, bool):
            if isinstance(result, Lost):
                result = [{"unscored": result.reason, "again": True}] * len(part)
            yield part, result

    def _map(
        self, job: Job, items: list[Any], heavy: bool, wanted: Callable[[Any], bool]
    ) -> Iterator[tuple[Any, Any]]:
        """Results of all items. What two replicas were lost on is sent again, part by part, each
        alone; wanted: whether anybody waits for a part."""
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
        if replicas.notes:  # of its start and fit, which this process has not seen
            job.adapter.notes = replicas.notes  # type: ignore[attr-defined]
        if single:
            yield from Replicas(sent, replace(resources, depth=1)).run(single)

    def _resources(self, items: int, heavy: bool) -> Resources:
        """What a replica takes, and how many the cluster has room for. Raises ReportCardError."""
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
        """Join or start the cluster, once. Raises ReportCardError."""
        if self._connected:
            return
        settings = self.settings
        if not settings.usage_stats:
            os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # What happens to a replica is said by us; Ray prints a paragraph of it, five times over.
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
        os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")  # a busy machine takes long
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
                _knock(address)
                ray.init(address=address, **quiet)
            else:
                self._folder = PrivateFolder()
                self._start(quiet)
        except Exception as error:  # Ray raises bare Exception for a start that takes too long
            self._clean()
            where = f"the cluster at {address}" if address else "Ray on this machine"
            raise ReportCardError(
                f"engine=ray: {where} cannot be had: {' '.join(str(error).split())[:300]}"
            ) from None
        except BaseException:  # Ctrl-C: what was begun goes
            ray.shutdown()
            self._clean()
            raise
        self._connected, self._joined = True, bool(address)

    def _start(self, quiet: dict[str, Any]) -> None:
        """A cluster of this machine. Ray gives it 30 s, which a busy machine may not have."""
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


def _knock(address: str) -> None:
    """Ray waits for minutes where nobody listens. Raises OSError."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=30).close()


def _heavy(adapter: ModelAdapter) -> bool:
    """Whether a model takes a GPU where there are some."""
    if getattr(adapter, "device", None) == "cpu":
        return False
    return isinstance(adapter, StagedAdapter | IsolatedAdapter) or adapter.card.weights is not None


def _same_device(adapter: ModelAdapter) -> None:
    """A model's fingerprint says what `auto` comes to on the driver's machine. Raises
    ReportCardError where the replicas' would be something else."""
    if isinstance(adapter, StagedAdapter) and adapter.device == "auto" and not GPU_DRIVER.exists():
        raise ReportCardError(
            "engine=ray: the replicas have GPUs and this machine has none, so that"
            " model.device=auto would mean two things. Say model.device=cuda."
        )


def _put(job: Job) -> Any:
    """A reference to the job in Ray's object store. Classes of plugin files go by value: no other
    process can import them. Raises ReportCardError."""
    import ray

    for name, module in list(sys.modules.items()):
        if name.startswith("reportcard_plugin_"):
            ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    try:
        return ray.put(job)
    except Exception as error:  # cloudpickle's errors are of every kind
        plugin = getattr(job, "adapter", None) or getattr(job, "annotator", None)
        # Ray's message shows the job, and so its studies; what cannot be pickled is in its middle.
        what = re.search(r"cannot pickle '([\w.]+)' object", str(error))
        words = f"it holds a {what[1]}" if what else type(error).__name__
        raise ReportCardError(
            f"engine=ray: {type(plugin).__name__} cannot be sent to another process"
            f" ({words}). Open files, models and connections in the first"
            " call, not when it is constructed; or run it with engine=local."
        ) from None


def _nodes() -> list[dict[str, float]]:
    """What each living node has."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _room(node: dict[str, float], cpus: float, gpus: float) -> int:
    """How many replicas one node has room for. A share of a GPU lies on one GPU."""
    room = int(node.get("CPU", 0) / cpus + 1e-9)
    if not gpus:
        return room
    there = node.get("GPU", 0)
    return min(room, int(there) * int(1 / gpus + 1e-9) if gpus <= 1 else int(there / gpus))
