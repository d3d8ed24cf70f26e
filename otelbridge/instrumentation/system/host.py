"""The machine: CPU, memory, filesystems, network (Y1 to Y6, Y8), read through psutil."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelbridge.catalogue import system
from otelbridge.diagnostics import warn_once
from otelbridge.domains.recording import DomainMeter
from otelbridge.errors import MissingDependencyError
from otelbridge.instrumentation.system.observing import observe_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelbridge.domains.recording import Attributes, Registration

_MOST_FILESYSTEMS = 64
_MOST_INTERFACES = 32

_CPU_MODES = {
    "user": ("user",),
    "nice": ("nice",),
    "system": ("system",),
    "idle": ("idle",),
    "iowait": ("iowait",),
    "interrupt": ("irq", "softirq"),
    "steal": ("steal",),
}
"""Fields of psutil by mode. Guest time is left out: the kernel has it in `user` and `nice` already."""

# Images, always full by nature: an alert on free space would never be quiet.
_READ_ONLY_IMAGES = frozenset({"squashfs", "erofs", "iso9660", "udf"})

# The host's ends of containers' interfaces. They come and go with each container, and their bytes pass
# the bridge or the physical interface too.
_CONTAINER_ENDS = ("veth", "cali", "lxc", "cilium", "tap", "vnet", "fwpr", "fwln")

_meter = DomainMeter(system.DOMAIN)
_CPU_TIME = _meter.observed(system.SYSTEM_CPU_TIME)
_CPU_COUNT = _meter.observed(system.SYSTEM_CPU_LOGICAL_COUNT)
_MEMORY_USAGE = _meter.observed(system.SYSTEM_MEMORY_USAGE)
_MEMORY_AVAILABLE = _meter.observed(system.SYSTEM_MEMORY_LINUX_AVAILABLE)
_MEMORY_LIMIT = _meter.observed(system.SYSTEM_MEMORY_LIMIT)
_FILESYSTEM_USAGE = _meter.observed(system.SYSTEM_FILESYSTEM_USAGE)
_NETWORK_IO = _meter.observed(system.SYSTEM_NETWORK_IO)


def instrument_system() -> Registration:
    """Observe the machine, after the conventions for ``system.*``.

    Inside a container the figures are those the kernel shows there: CPU and memory of the host, the
    container's own network, the filesystems it sees.

    Returns:
        A handle whose `close()` stops it. Calling this twice observes once.

    Raises:
        MissingDependencyError: psutil is not installed.
    """
    try:
        import psutil as _  # noqa: F401 - is it there?
    except ImportError as error:
        raise MissingDependencyError("The instrumentation 'system'", "psutil", "system") from error
    network = _Network()
    return observe_all(
        "system",
        [
            (_CPU_TIME, _cpu_time),
            (_CPU_COUNT, _cpu_count),
            (_MEMORY_USAGE, _memory_usage),
            (_MEMORY_AVAILABLE, _memory_available if sys.platform == "linux" else None),
            (_MEMORY_LIMIT, _memory_limit),
            (_FILESYSTEM_USAGE, _filesystem_usage),
            (_NETWORK_IO, network.read),
        ],
    )


def _cpu_time() -> Iterator[tuple[float, Attributes]]:
    import psutil

    times = psutil.cpu_times()
    for mode, fields in _CPU_MODES.items():
        present = [getattr(times, field) for field in fields if hasattr(times, field)]
        if present:
            yield sum(present), {system.CPU_MODE.key: mode}


def _cpu_count() -> Iterator[tuple[float, Attributes]]:
    import psutil

    count = psutil.cpu_count(logical=True)
    if count:
        yield count, {}


def _memory_usage() -> Iterator[tuple[float, Attributes]]:
    import psutil

    memory = psutil.virtual_memory()
    states = {state: getattr(memory, state) for state in ("free", "buffers", "cached") if hasattr(memory, state)}
    # psutil's own "used" is by now the total without the available memory, in which caches are contained:
    # added to them it would exceed the total.
    states["used"] = max(memory.total - sum(states.values()), 0)
    for state, amount in states.items():
        yield amount, {system.MEMORY_STATE.key: state}


def _memory_available() -> float:
    import psutil

    return psutil.virtual_memory().available


def _memory_limit() -> float:
    import psutil

    return psutil.virtual_memory().total


def _filesystem_usage() -> Iterator[tuple[float, Attributes]]:
    import psutil

    for partition in _filesystems():
        try:
            usage = psutil.disk_usage(partition.mountpoint)
        except OSError:  # no permission, an empty drive, unmounted meanwhile: absent, the others go on
            continue
        states = {
            "used": usage.used,
            "free": usage.free,
            "reserved": max(usage.total - usage.used - usage.free, 0),
        }
        attributes: dict[str, str] = {
            system.DEVICE.key: partition.device,
            system.FILESYSTEM_MOUNTPOINT.key: partition.mountpoint,
            system.FILESYSTEM_TYPE.key: partition.fstype,
            system.FILESYSTEM_MODE.key: "ro" if "ro" in partition.opts.split(",") else "rw",
        }
        for state, amount in states.items():
            yield amount, {**attributes, system.FILESYSTEM_STATE.key: state}


def _filesystems() -> list[Any]:
    """List the filesystems to report: real ones, each device once, at its shortest mount point."""
    import psutil

    partitions = psutil.disk_partitions(all=False)
    if not any(partition.mountpoint == "/" for partition in partitions):
        # The root of a container is an overlay, which is on no device and yet the one that fills up.
        partitions += [partition for partition in psutil.disk_partitions(all=True) if partition.mountpoint == "/"][-1:]
    by_device: dict[str, Any] = {}
    for partition in sorted(partitions, key=lambda partition: (len(partition.mountpoint), partition.mountpoint)):
        # Containers have single files mounted over their own (hosts, resolv.conf) from the host's disk.
        if partition.fstype not in _READ_ONLY_IMAGES and Path(partition.mountpoint).is_dir():
            by_device.setdefault(partition.device, partition)
    if len(by_device) > _MOST_FILESYSTEMS:
        warn_once(
            (system.SYSTEM_FILESYSTEM_USAGE.name, "cap"),
            "%s shows %d of %d filesystems, those with the shortest mount points.",
            system.SYSTEM_FILESYSTEM_USAGE.name,
            _MOST_FILESYSTEMS,
            len(by_device),
        )
    return list(by_device.values())[:_MOST_FILESYSTEMS]


class _Network:
    """Reads the interfaces. Once shown, an interface stays shown, or its counter would come and go."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def read(self) -> Iterator[tuple[float, Attributes]]:
        import psutil

        counters = psutil.net_io_counters(pernic=True)
        self._admit(name for name in sorted(counters) if not name.startswith(_CONTAINER_ENDS))
        for name in sorted(self._shown & counters.keys()):
            counter = counters[name]
            interface = system.INTERFACE_NAME.key
            direction = system.IO_DIRECTION.key
            yield counter.bytes_sent, {interface: name, direction: "transmit"}
            yield counter.bytes_recv, {interface: name, direction: "receive"}

    def _admit(self, names: Iterator[str]) -> None:
        for name in names:
            if name in self._shown:
                continue
            if len(self._shown) >= _MOST_INTERFACES:
                warn_once(
                    (system.SYSTEM_NETWORK_IO.name, "cap"),
                    "%s shows the first %d network interfaces; %r and further ones are left out.",
                    system.SYSTEM_NETWORK_IO.name,
                    _MOST_INTERFACES,
                    name,
                )
                return
            self._shown.add(name)
