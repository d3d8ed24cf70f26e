"""Where otelbridge is made for every benchmark. What does not exist yet says so, and is not measured."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.model import UnmeasuredError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader

    from otelbridge import Bridge

_NEVER = 3600.0

_UNLIMITED = 1_000_000_000
"""Far above what is measured. By default a process keeps 50 000 attribute sets apart, and a page ends at 50 MB."""


def create_provider(readers: Sequence[MetricReader]) -> MeterProvider:
    """Make our own meter provider as `otelbridge.init` does, whose values all worker processes see.

    Raises:
        UnmeasuredError: There is none yet.
    """
    name = "otelbridge.metrics.provider"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UnmeasuredError(f"not there yet: {name}") from error
    processes = import_module("otelbridge.metrics.processes").Processes("benchmark", run_directory())
    return module.MeterProvider(metric_readers=readers, shutdown_on_exit=False, processes=processes)


def run_directory() -> Path:
    """Give the directory in memory that goes with the process."""
    return Path(os.environ["OTELBRIDGE_RUN_DIRECTORY"])


def bind(instrument: Any, attributes: dict[str, Any]) -> Any:
    """Give the handle of one series.

    Raises:
        UnmeasuredError: Instruments have none yet.
    """
    if not hasattr(instrument, "bind"):
        raise UnmeasuredError(f"not there yet: bind() of {type(instrument).__qualname__}")
    return instrument.bind(attributes)


def start(*, app: Any = None, engine: Any = None, endpoint: str = "http://127.0.0.1:9", scrape: bool = True) -> Bridge:
    """Start everything with `otelbridge.init`: scraping and, at an endpoint nobody pushes to by itself, OTLP.

    Args:
        app: FastAPI application.
        engine: SQLAlchemy engine.
        endpoint: Where a push goes, if one is asked for.
        scrape: False leaves scraping out.

    Returns:
        The bridge.
    """
    import otelbridge

    os.environ["OTELBRIDGE_SERIES_LIMIT"] = str(_UNLIMITED)
    pull: Any = False
    if scrape:
        where: Any = "app" if app is not None else None
        pull = where or otelbridge.PrometheusOptions(port=0, max_bytes=_UNLIMITED)
    return otelbridge.init(
        service_name="benchmark",
        app=app,
        engine=engine,
        prometheus=pull,
        otlp=otelbridge.OtlpOptions(endpoint=endpoint, interval=_NEVER),
        instrument=[name for name, used in (("fastapi", app), ("sqlalchemy", engine)) if used is not None],
        find_engines=False,  # others stand beside, to compare with
    )
