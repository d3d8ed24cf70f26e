"""Forks children while other threads work: ``python -m tests.concurrency.children MEANWHILE FORKS``.

Each child makes an instrument, records, renders, and ends as a program does, with its `atexit` hooks, or by
`os._exit`. What is printed is how many did not.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from contextlib import suppress

from opentelemetry import metrics

import otelbridge

_LONGEST = 60.0
_PARALLEL = 8
_silent = socket.socket()  # accepts, and never answers
_stop = threading.Event()


def _start() -> otelbridge.Bridge:
    return otelbridge.init(
        service_name="parent",
        prometheus=otelbridge.PrometheusOptions(mode="server", port=0),
        otlp=f"http://127.0.0.1:{_silent.getsockname()[1]}",
        instrument=False,
    )


def _create(number: int) -> None:
    metrics.get_meter(f"app {number % 50}").create_counter(f"made {number % 2000}".replace(" ", "_")).add(1)
    metrics.get_meter("app").create_observable_gauge(f"seen_{number % 2000}", [lambda _: ()])


def _scrape(_number: int) -> None:
    _start().render()


def _push(_number: int) -> None:
    otelbridge.force_flush(0.05)


def _shutdown(_number: int) -> None:
    _start()
    otelbridge.shutdown(0.05)


def _import(number: int) -> None:
    names = sorted(
        name for name in sys.modules if name.startswith(("otelbridge.domains", "otelbridge.instrumentation"))
    )
    sys.modules.pop(names[number % len(names)], None)
    __import__(names[number % len(names)])


_MEANWHILE = {"create": _create, "scrape": _scrape, "push": _push, "shutdown": _shutdown, "import": _import}


def _work(meanwhile: str) -> None:
    number = 0
    while not _stop.is_set():
        number += 1
        # Two threads start and stop at once, or take away what the other one imports.
        with suppress(otelbridge.ConfigError, KeyError):
            _MEANWHILE[meanwhile](number)
        time.sleep(0)


def _be_a_child(number: int, meanwhile: str) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: traceback.print_stack())
    metrics.get_meter("app").create_counter("mine").add(1, {"child": str(number % 10)})
    if meanwhile == "import":
        from otelbridge.domains import agents, business, tasks

        assert agents, (business, tasks)
    if number % 3 == 0:
        _start().render()
    if number % 2:
        otelbridge.shutdown(0.05)
        sys.exit(0)
    os._exit(0)


def _fork(number: int, meanwhile: str) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        _be_a_child(number, meanwhile)
    except SystemExit as end:
        if end.code == 0:
            raise  # the interpreter ends as always
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def _ends_well(child: int) -> bool:
    end = time.monotonic() + _LONGEST
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status == 0
        time.sleep(0.001)
    os.kill(child, signal.SIGUSR1)
    time.sleep(0.5)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main(meanwhile: str, forks: int) -> None:
    _silent.bind(("127.0.0.1", 0))
    _silent.listen(128)
    _start()
    threads = [threading.Thread(target=_work, args=(meanwhile,), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    bad = 0
    for first in range(0, forks, _PARALLEL):
        children = [_fork(number, meanwhile) for number in range(first, min(first + _PARALLEL, forks))]
        bad += sum(not _ends_well(child) for child in children)
        if bad > _PARALLEL:
            break
    _stop.set()
    for thread in threads:
        thread.join(_LONGEST)
    sys.stdout.write(f"bad: {bad}\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads is the point
    gc.freeze()
    main(sys.argv[1], int(sys.argv[2]))
