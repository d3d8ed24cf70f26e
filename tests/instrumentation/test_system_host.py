"""The machine's metrics against independent readings of the kernel's own files."""

from __future__ import annotations

import logging
import os
import sys
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from otelbridge.catalogue import system as catalogue
from otelbridge.errors import MissingDependencyError
from otelbridge.instrumentation.system import instrument_system

MIB = 2**20


@pytest.fixture
def observed(recorded):
    registration = instrument_system()
    yield recorded
    registration.close()


def by(recorded, metric, key) -> dict:
    return {attributes[key]: value for attributes, value in recorded.points(metric.name)}


def meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}


def test_cpu_time_lies_between_two_readings_of_the_kernel(observed) -> None:
    def kernel() -> dict[str, float]:
        user, nice, system, idle, iowait, irq, softirq, steal = map(
            int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        )
        ticks = {
            "user": user,
            "nice": nice,
            "system": system,
            "idle": idle,
            "interrupt": irq + softirq,
            "steal": steal,
            "iowait": iowait,
        }
        return {mode: count / os.sysconf("SC_CLK_TCK") for mode, count in ticks.items()}

    before = kernel()
    points = by(observed, catalogue.SYSTEM_CPU_TIME, "cpu.mode")
    after = kernel()
    assert set(points) == set(before)
    # The kernel itself lets idle and iowait step back now and then.
    for mode in ("user", "nice", "system", "interrupt", "steal"):
        assert before[mode] - 1e-6 <= points[mode] <= after[mode] + 1e-6, mode


def test_cpu_count(observed) -> None:
    count = sum(line.startswith("processor") for line in Path("/proc/cpuinfo").read_text().splitlines())
    assert observed.value(catalogue.SYSTEM_CPU_LOGICAL_COUNT.name) == count


def test_memory_states_add_up_to_the_limit(observed) -> None:
    kernel = meminfo()
    assert observed.value(catalogue.SYSTEM_MEMORY_LIMIT.name) == kernel["MemTotal"]
    states = by(observed, catalogue.SYSTEM_MEMORY_USAGE, "system.memory.state")
    assert set(states) == {"used", "free", "buffers", "cached"}
    assert sum(states.values()) == kernel["MemTotal"]
    assert states["free"] == pytest.approx(kernel["MemFree"], abs=512 * MIB)
    assert states["buffers"] == pytest.approx(kernel["Buffers"], abs=64 * MIB)
    assert states["cached"] == pytest.approx(kernel["Cached"] + kernel["SReclaimable"], abs=512 * MIB)
    available = observed.value(catalogue.SYSTEM_MEMORY_LINUX_AVAILABLE.name)
    assert available == pytest.approx(kernel["MemAvailable"], abs=512 * MIB)


def test_root_filesystem_adds_up_to_its_capacity(observed) -> None:
    points = observed.points(catalogue.SYSTEM_FILESYSTEM_USAGE.name)
    root = [(attributes, value) for attributes, value in points if attributes["system.filesystem.mountpoint"] == "/"]
    assert [attributes["system.filesystem.state"] for attributes, _ in root] == ["used", "free", "reserved"]
    kernel = os.statvfs("/")
    assert sum(value for _, value in root) == kernel.f_blocks * kernel.f_frsize
    assert root[1][1] == pytest.approx(kernel.f_bavail * kernel.f_frsize, abs=512 * MIB)
    for attributes, _ in points:
        assert set(attributes) == catalogue.SYSTEM_FILESYSTEM_USAGE.attribute_keys


def test_network_against_the_kernel(observed) -> None:
    def kernel() -> dict[tuple[str, str], int]:
        lines = [line.partition(":") for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
        received = {(name.strip(), "receive"): int(rest.split()[0]) for name, _, rest in lines}
        sent = {(name.strip(), "transmit"): int(rest.split()[8]) for name, _, rest in lines}
        return received | sent

    before = kernel()
    points = {
        (attributes["network.interface.name"], attributes["network.io.direction"]): value
        for attributes, value in observed.points(catalogue.SYSTEM_NETWORK_IO.name)
    }
    after = kernel()
    assert ("lo", "receive") in points
    for key, value in points.items():
        assert before[key] <= value <= after[key], key


def test_values_never_step_back(observed) -> None:
    first = by(observed, catalogue.SYSTEM_CPU_TIME, "cpu.mode")
    sum(range(10**6))
    second = by(observed, catalogue.SYSTEM_CPU_TIME, "cpu.mode")
    assert all(second[mode] >= first[mode] for mode in ("user", "system", "nice"))


Partition = namedtuple("Partition", "device mountpoint fstype opts")
Counter = namedtuple("Counter", "bytes_sent bytes_recv")


def test_filesystems_of_a_container(observed, monkeypatch, tmp_path) -> None:
    """The layout of a container: an overlay as root, single files and a volume from the host's disks."""
    single_file = tmp_path / "hosts"
    single_file.touch()
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume again").mkdir()
    (tmp_path / "image").mkdir()
    real = [
        Partition("/dev/sda1", str(single_file), "ext4", "rw,relatime"),
        Partition("/dev/sdb1", str(tmp_path / "volume again"), "xfs", "ro,relatime"),
        Partition("/dev/sdb1", str(tmp_path / "volume"), "xfs", "rw,relatime"),
        Partition("/dev/loop0", str(tmp_path / "image"), "squashfs", "ro"),
        Partition("/dev/sdc1", str(tmp_path / "gone"), "ext4", "rw"),
    ]
    pseudo = [Partition("proc", "/proc", "proc", "rw"), Partition("overlay", "/", "overlay", "rw,relatime")]

    def partitions(*, all):  # noqa: A002
        return real + pseudo if all else list(real)

    monkeypatch.setattr(psutil, "disk_partitions", partitions)

    shown = {
        (attributes["system.device"], attributes["system.filesystem.mountpoint"], attributes["system.filesystem.mode"])
        for attributes, _ in observed.points(catalogue.SYSTEM_FILESYSTEM_USAGE.name)
    }
    assert shown == {("overlay", "/", "rw"), ("/dev/sdb1", str(tmp_path / "volume"), "rw")}


def test_unreadable_filesystem_costs_only_itself(observed, monkeypatch, caplog) -> None:
    usage = psutil.disk_usage

    def denied(path):
        if path != "/":
            raise PermissionError(path)
        return usage(path)

    mounts = [Partition("/dev/a", "/", "ext4", "rw"), Partition("/dev/b", "/etc", "ext4", "rw")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    monkeypatch.setattr(psutil, "disk_usage", denied)
    assert {attributes["system.device"] for attributes, _ in observed.points("system.filesystem.usage")} == {"/dev/a"}
    assert caplog.records == []


def test_many_filesystems_are_capped(observed, monkeypatch, caplog, tmp_path) -> None:
    mounts = []
    for number in range(100):
        (tmp_path / str(number)).mkdir()
        mounts.append(Partition(f"/dev/sd{number}", str(tmp_path / str(number)), "ext4", "rw"))
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [Partition("/dev/root", "/", "ext4", "rw"), *mounts])
    with caplog.at_level(logging.WARNING, "otelbridge"):
        devices = {attributes["system.device"] for attributes, _ in observed.points("system.filesystem.usage")}
    assert len(devices) == 64
    assert "/dev/root" in devices
    assert "64 of 101 filesystems" in caplog.text


def test_interfaces_of_containers_are_left_out_and_the_rest_capped(observed, monkeypatch, caplog) -> None:
    names = [f"veth{number:x}" for number in range(300)] + [f"eth{number}" for number in range(40)]
    counters = {name: Counter(1, 2) for name in names}
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: counters)

    def shown() -> set[str]:
        return {attributes["network.interface.name"] for attributes, _ in observed.points("system.network.io")}

    with caplog.at_level(logging.WARNING, "otelbridge"):
        first = shown()
    assert len(first) == 32
    assert all(name.startswith("eth") for name in first)
    assert len([record for record in caplog.records if "32 network interfaces" in record.getMessage()]) == 1
    # One that was shown stays, whatever comes before it in the alphabet; one that is gone is absent.
    counters["aaa"] = Counter(1, 2)
    del counters["eth0"]
    assert shown() == first - {"eth0"}


def test_twice_observes_once_and_close_ends_it(recorded) -> None:
    first, second = instrument_system(), instrument_system()
    assert len(recorded.points("system.cpu.time")) == 7
    first.close()
    assert len(recorded.points("system.cpu.time")) == 7
    second.close()
    second.close()
    assert recorded.points("system.cpu.time") == []


def test_without_psutil_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(MissingDependencyError, match=r"otelbridge\[system\]"):
        instrument_system()
