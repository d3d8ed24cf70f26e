"""This process: uptime, CPU, memory, threads, descriptors (Y7, Y9 to Y12).

Nothing about the process is kept between readings, so that a forked child reports itself. Linux answers
from ``/proc`` without any package. Elsewhere psutil answers where it is installed; without it, CPU time
and threads (those of Python) come from the standard library, uptime counts from the import of this module,
and memory and descriptors are absent.
"""

from __future__ import annotations

import os
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from otelbridge.catalogue import system
from otelbridge.domains.recording import DomainMeter
from otelbridge.instrumentation.system.observing import observe_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelbridge.domains.checks import Attributes
    from otelbridge.domains.recording import Registration, Source

_PROC = Path("/proc/self")
# Offsets after the name of the program, which may itself contain spaces: proc_pid_stat(5) counts from 1
# and the first field after the name is the third.
_STAT_THREADS = 20 - 3
_STAT_START = 22 - 3

_imported = time.monotonic()

_meter = DomainMeter(system.DOMAIN)
_UPTIME = _meter.observed(system.PROCESS_UPTIME)
_CPU_TIME = _meter.observed(system.PROCESS_CPU_TIME)
_MEMORY = _meter.observed(system.PROCESS_MEMORY_USAGE)
_THREADS = _meter.observed(system.PROCESS_THREAD_COUNT)
_DESCRIPTORS = _meter.observed(system.PROCESS_FILE_DESCRIPTOR_COUNT)


def instrument_process() -> Registration:
    """Observe this process, after the conventions for ``process.*``.

    Returns:
        A handle whose `close()` stops it. Calling this twice observes once.
    """
    return observe_all(
        "process",
        [
            (_UPTIME, _first_working(_uptime_linux, _uptime_psutil) or _uptime_since_import),
            (_CPU_TIME, _cpu_time),
            (_MEMORY, _first_working(_memory_linux, _memory_psutil)),
            (_THREADS, _first_working(_threads_linux, _threads_psutil) or threading.active_count),
            (_DESCRIPTORS, _first_working(_descriptors_linux, _descriptors_psutil)),
        ],
    )


def _first_working(linux: Source, psutil: Source) -> Source | None:
    candidates = (linux, psutil) if find_spec("psutil") else (linux,)
    for candidate in candidates:
        try:
            candidate()
        except Exception:  # noqa: S112 - not on this platform: the next one is the report
            continue
        return candidate
    return None


def _stat() -> list[str]:
    return (_PROC / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _uptime_linux() -> float:
    # Both figures count from boot, so a clock that is set does not matter.
    started = int(_stat()[_STAT_START]) / os.sysconf("SC_CLK_TCK")
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started, 0.0)


def _uptime_psutil() -> float:
    import psutil

    return max(time.time() - psutil.Process().create_time(), 0.0)


def _uptime_since_import() -> float:
    return time.monotonic() - _imported


def _cpu_time() -> Iterator[tuple[float, Attributes]]:
    user, own_system = _cpu_seconds()
    yield user, {system.CPU_MODE.key: "user"}
    yield own_system, {system.CPU_MODE.key: "system"}


def _cpu_seconds() -> tuple[float, float]:
    try:
        import resource
    except ImportError:  # Windows
        times = os.times()
        return times.user, times.system
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def _memory_linux() -> int:
    resident = (_PROC / "statm").read_text(encoding="ascii").split()[1]
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


def _memory_psutil() -> int:
    import psutil

    return psutil.Process().memory_info().rss


def _threads_linux() -> int:
    return int(_stat()[_STAT_THREADS])


def _threads_psutil() -> int:
    import psutil

    return psutil.Process().num_threads()


def _descriptors_linux() -> int:
    # Reading the directory takes a descriptor itself, which is listed and not counted.
    return len(os.listdir(_PROC / "fd")) - 1  # noqa: PTH208 - no paths are needed, only how many


def _descriptors_psutil() -> int:
    import psutil

    return psutil.Process().num_fds()
