"""The machine, the process and the interpreter, read at each collection."""

from __future__ import annotations

from otelbridge.instrumentation.system.host import instrument_system
from otelbridge.instrumentation.system.process import instrument_process
from otelbridge.instrumentation.system.runtime import instrument_runtime

__all__ = ["instrument_process", "instrument_runtime", "instrument_system"]
