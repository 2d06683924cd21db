"""engine=ray: replicas of a model or an annotator on the GPUs of one machine or a cluster.

A cluster that RAY_ADDRESS (or engine.address) names is joined; else one is started here, with its
files in a private folder that goes with it. Ray is imported when it is used. Its usage reports are
off unless asked for, its dashboard is off or on loopback, and its logs stay in its own files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence, Set
from typing import Any

from harness.api import Annotator, Json, Prediction, ReportCardError, StopRunError
from harness.engines.buckets import batches
from harness.engines.engine import LocalEngine
from harness.engines.job import AnnotatorJob, Job, ModelJob
from harness.engines.local import Key, failed, key
from harness.engines.replicas import Lost, Replicas, Resources
from harness.isolated import IsolatedAdapter
from harness.settings import EngineSettings
from harness.staged import StagedAdapter


class RayEngine:
    """One connection to Ray for an invocation; `close` ends it, and a cluster started here."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._folder: str | None = None
        self._connected = False

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
        if not todo:
            return
        heavy = isinstance(adapter, StagedAdapter | IsolatedAdapter)
        try:
            for item, result in self._map(job, todo, heavy):
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
        for part, result in self._map(AnnotatorJob(annotator), list(parts), heavy):
            if isinstance(result, Lost):
                result = [{"unscored": result.reason, "again": True}] * len(part)
            yield part, result

    def _map(self, job: Job, items: list[Any], heavy: bool) -> Iterator[tuple[Any, Any]]:
        """Results of all items. What two replicas were lost on is sent again, item by item."""
        self.connect()
        resources = self._resources(len(items), heavy)
        single: list[Any] = []
        replicas = Replicas(job, resources)
        for item, result in replicas.run(items):
            if replicas.notes:  # of the fit, which this process has not seen
                job.adapter.notes = replicas.notes  # type: ignore[attr-defined]
            if isinstance(result, Lost) and len(item) > 1:
                single += [item[n : n + 1] for n in range(len(item))]
            else:
                yield item, result
        if single:
            yield from Replicas(job, resources).run(single)

    def _resources(self, items: int, heavy: bool) -> Resources:
        import ray

        settings = self.settings
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = settings.gpus_per_replica
        if gpus is None:
            gpus = 1.0 if heavy and there.get("GPU", 0) else 0.0
        if gpus > there.get("GPU", 0):
            raise ReportCardError(
                f"engine.gpus_per_replica={gpus:g}: the cluster has {there.get('GPU', 0):g} GPUs."
            )
        room = there.get("GPU", 0) / gpus if gpus else there["CPU"] / settings.cpus_per_replica
        count = settings.replicas or max(1, int(room))
        return Resources(
            replicas=min(count, items),
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
                ray.init(address=address, **quiet)
            else:
                self._folder = tempfile.mkdtemp(prefix="reportcard-ray-")  # mode 0700
                ray.init(
                    address="local",
                    include_dashboard=settings.dashboard,
                    dashboard_host="127.0.0.1",
                    _temp_dir=self._folder,
                    **quiet,
                )
        except Exception as error:  # Ray raises bare Exception for a start that takes too long
            self._clean()
            where = f"the cluster at {address}" if address else "Ray on this machine"
            raise ReportCardError(
                f"engine=ray: {where} cannot be had: {' '.join(str(error).split())[:300]}"
            ) from None
        self._connected = True

    def close(self) -> None:
        if self._connected:
            import ray

            ray.shutdown()
            self._connected = False
        self._clean()

    def _clean(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
