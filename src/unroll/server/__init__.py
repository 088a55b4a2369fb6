"""Serve runs over HTTP: pages, predictions and streams. Requests are bounded; stopping finishes open ones."""

from __future__ import annotations

from ..errors import ConfigError, how_to_install

try:
    from .app import create_app, guarded
    from .running import HOST, PORT, configured, is_loopback, listen, load_served, page_of, serve
    from .served import Served
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("fastapi", "starlette", "uvicorn", "prometheus_client"):
        raise
    raise ConfigError(f"serving needs {error.name}: {how_to_install('serve')}") from error

__all__ = [
    "HOST",
    "PORT",
    "Served",
    "configured",
    "create_app",
    "guarded",
    "is_loopback",
    "listen",
    "load_served",
    "page_of",
    "serve",
]
