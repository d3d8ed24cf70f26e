"""The machine, the process and the interpreter, in the system, process and CPython conventions."""

from __future__ import annotations

from otelbridge.catalogue.model import Attribute, Domain, Kind, Metric

CPU_MODE = Attribute(
    "cpu.mode",
    "What the CPU did; guest time is part of `user`, as the kernel counts it.",
    values=("user", "nice", "system", "idle", "iowait", "interrupt", "steal"),
    example="user",
)
MEMORY_STATE = Attribute(
    "system.memory.state",
    "State of the memory; the states add up to the total.",
    values=("used", "free", "buffers", "cached"),
    example="used",
)
DEVICE = Attribute("system.device", "Device the filesystem lives on.", example="/dev/sda1")
FILESYSTEM_MOUNTPOINT = Attribute("system.filesystem.mountpoint", "Where it is mounted.", example="/")
FILESYSTEM_TYPE = Attribute("system.filesystem.type", "Type of the filesystem.", example="ext4")
FILESYSTEM_MODE = Attribute(
    "system.filesystem.mode", "Whether it can be written to.", values=("rw", "ro"), example="rw"
)
FILESYSTEM_STATE = Attribute(
    "system.filesystem.state",
    "State of the space; the states add up to the capacity.",
    values=("used", "free", "reserved"),
    example="used",
)
INTERFACE_NAME = Attribute("network.interface.name", "Name of the network interface.", example="eth0")
IO_DIRECTION = Attribute(
    "network.io.direction", "Direction of the bytes.", values=("transmit", "receive"), example="receive"
)
GC_GENERATION = Attribute("cpython.gc.generation", "Generation that was collected.", type="int", example=0)

SYSTEM_CPU_TIME = Metric(
    "Y1",
    "system.cpu.time",
    Kind.OBSERVABLE_COUNTER,
    "s",
    "Seconds all logical CPUs together spent in each mode.",
    (CPU_MODE,),
    convention="semconv",
    answers=("002-M41", "003-M24", "004-M27"),
)
SYSTEM_CPU_LOGICAL_COUNT = Metric(
    "Y2",
    "system.cpu.logical.count",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "{cpu}",
    "Number of logical CPUs.",
    convention="semconv",
    answers=("002-M42", "003-M24"),
    merge="last",
)
SYSTEM_MEMORY_USAGE = Metric(
    "Y3",
    "system.memory.usage",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Memory by state.",
    (MEMORY_STATE,),
    convention="semconv",
    answers=("002-M43", "002-M45", "003-M25", "003-M29", "004-M27"),
    merge="last",
)
SYSTEM_MEMORY_LINUX_AVAILABLE = Metric(
    "Y4",
    "system.memory.linux.available",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Memory that new applications can have without swapping, as Linux estimates it.",
    convention="semconv",
    answers=("002-M44", "003-M25"),
    merge="last",
)
SYSTEM_FILESYSTEM_USAGE = Metric(
    "Y5",
    "system.filesystem.usage",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Space of each filesystem by state.",
    (DEVICE, FILESYSTEM_MOUNTPOINT, FILESYSTEM_TYPE, FILESYSTEM_MODE, FILESYSTEM_STATE),
    convention="semconv",
    answers=("002-M46", "002-M47", "002-M48", "003-M26", "003-M29", "004-M27"),
    merge="last",
)
SYSTEM_NETWORK_IO = Metric(
    "Y6",
    "system.network.io",
    Kind.OBSERVABLE_COUNTER,
    "By",
    "Bytes transmitted and received by each network interface.",
    (INTERFACE_NAME, IO_DIRECTION),
    convention="semconv",
    answers=("002-M49", "002-M50", "003-M27", "004-M27"),
    merge="last",
)
PROCESS_UPTIME = Metric(
    "Y7",
    "process.uptime",
    Kind.OBSERVABLE_GAUGE,
    "s",
    "The time the process has been running.",
    convention="semconv",
    answers=("000-M9", "002-M51", "004-M26"),
    merge="max",
)
SYSTEM_MEMORY_LIMIT = Metric(
    "Y8",
    "system.memory.limit",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Total memory.",
    convention="semconv",
    merge="last",
)
PROCESS_CPU_TIME = Metric(
    "Y9",
    "process.cpu.time",
    Kind.OBSERVABLE_COUNTER,
    "s",
    "CPU seconds of the process by mode.",
    (CPU_MODE,),
    convention="semconv",
    answers=("003-M37",),
)
PROCESS_MEMORY_USAGE = Metric(
    "Y10",
    "process.memory.usage",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "By",
    "Physical memory the process uses.",
    convention="semconv",
)
PROCESS_THREAD_COUNT = Metric(
    "Y11",
    "process.thread.count",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "{thread}",
    "Threads of the process.",
    convention="semconv",
)
PROCESS_FILE_DESCRIPTOR_COUNT = Metric(
    "Y12",
    "process.unix.file_descriptor.count",
    Kind.OBSERVABLE_UP_DOWN_COUNTER,
    "{file_descriptor}",
    "File descriptors the process has open.",
    convention="semconv",
)
GC_COLLECTIONS = Metric(
    "Y13",
    "cpython.gc.collections",
    Kind.OBSERVABLE_COUNTER,
    "{collection}",
    "Garbage collections since the interpreter started.",
    (GC_GENERATION,),
    convention="semconv",
)

DOMAIN = Domain(
    "system",
    "The machine, the process and the interpreter.",
    (
        SYSTEM_CPU_TIME,
        SYSTEM_CPU_LOGICAL_COUNT,
        SYSTEM_MEMORY_USAGE,
        SYSTEM_MEMORY_LINUX_AVAILABLE,
        SYSTEM_FILESYSTEM_USAGE,
        SYSTEM_NETWORK_IO,
        PROCESS_UPTIME,
        SYSTEM_MEMORY_LIMIT,
        PROCESS_CPU_TIME,
        PROCESS_MEMORY_USAGE,
        PROCESS_THREAD_COUNT,
        PROCESS_FILE_DESCRIPTOR_COUNT,
        GC_COLLECTIONS,
    ),
)
