"""The engine that the configuration names."""

from __future__ import annotations

from harness.config.settings import EngineSettings
from harness.predict.engines.engine import Engine
from harness.predict.engines.local import LocalEngine


def open_engine(settings: EngineSettings) -> Engine:
    """Connects to nothing yet."""
    if settings.kind == "local":
        return LocalEngine(settings)
    from harness.predict.engines.ray import RayEngine

    return RayEngine(settings)
