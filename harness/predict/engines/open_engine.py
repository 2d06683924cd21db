"""The engine that the configuration names."""

from __future__ import annotations

from reportcard.config.settings import EngineSettings
from reportcard.predict.engines.engine import Engine
from reportcard.predict.engines.local import LocalEngine


def open_engine(settings: EngineSettings) -> Engine:
    """Connects to nothing yet."""
    if settings.kind == "local":
        return LocalEngine(settings)
    from reportcard.predict.engines.ray import RayEngine

    return RayEngine(settings)
