"""The resource: which service, where it runs. Detected where it can be, and overridable in every key."""

from __future__ import annotations

import os
import platform
import re
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import OsResourceDetector, ProcessResourceDetector, Resource

from otelbridge.metrics._sdk import clean_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otelbridge.config.options import Config, ResourceValue

_CONTAINER_ID = re.compile(r"\b[0-9a-f]{64}\b")

# Command lines hold passwords and tokens often enough.
_SECRETIVE = "process.command"

_ONE_PROCESS = ("process.pid", "process.parent_pid")

# Names of groups of processes, as a namespace of RFC 9562.
_GROUPS = uuid.UUID("0b0b7a5e-6f4c-5d0e-9a3e-6d6574726963")

# The names the OpenTelemetry operator and its examples give to the downward API's values.
_KUBERNETES = {
    "k8s.namespace.name": ("K8S_NAMESPACE_NAME", "K8S_NAMESPACE", "POD_NAMESPACE"),
    "k8s.node.name": ("K8S_NODE_NAME", "NODE_NAME"),
    "k8s.pod.name": ("K8S_POD_NAME", "POD_NAME"),
    "k8s.pod.uid": ("K8S_POD_UID", "POD_UID"),
    "k8s.container.name": ("K8S_CONTAINER_NAME", "CONTAINER_NAME"),
    "k8s.deployment.name": ("K8S_DEPLOYMENT_NAME", "DEPLOYMENT_NAME"),
    "k8s.cluster.name": ("K8S_CLUSTER_NAME", "CLUSTER_NAME"),
}


def create_resource(config: Config, group: str = "") -> Resource:
    """Make the resource of the service.

    Args:
        config: Which detectors to run, and the attributes the user set, which win over detected ones.
        group: What tells the group of processes from all others; empty for a process of its own. All processes of
            a group have the same resource, with an instance id made of it and without what is one process' alone.

    Returns:
        The resource, with ``service.name``, ``service.instance.id`` and ``telemetry.sdk.*`` always
        present.
    """
    detected: dict[str, ResourceValue] = {}
    for name in config.detectors:
        detected.update(DETECTORS[name]())
    named = {
        "service.name": config.service_name,
        "service.version": config.service_version,
        "deployment.environment.name": config.environment,
    }
    said = {key: value for key, value in named.items() if value is not None}
    if group:
        detected = {key: value for key, value in detected.items() if key not in _ONE_PROCESS}
        detected["service.instance.id"] = str(uuid.uuid5(_GROUPS, group))
    # `create` brings telemetry.sdk.*, a service.instance.id and the fallback name of the service. It also runs
    # detectors of its own that the environment names, one of which shows the command line.
    resource = Resource.create({**detected, **config.resource_attributes, **said})
    # The environment and paths hold lone surrogates where they are no UTF-8, and one would fail every scrape.
    cleaned = clean_attributes(resource.attributes)
    kept = {key: value for key, value in cleaned.items() if not key.startswith(_SECRETIVE)}
    return Resource(kept, resource.schema_url)


def detect_process() -> Mapping[str, ResourceValue]:
    """Detect ``process.*``: pid, executable, owner, runtime. Never the command line, which may hold secrets."""
    found = dict(ProcessResourceDetector().detect().attributes)
    return {key: value for key, value in found.items() if not key.startswith(_SECRETIVE)}  # pyright: ignore[reportReturnType]


def detect_host() -> Mapping[str, ResourceValue]:
    """Detect ``host.name`` and ``host.arch``."""
    architectures = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "i686": "x86", "i386": "x86"}
    machine = platform.machine()
    return {"host.name": socket.gethostname(), "host.arch": architectures.get(machine, machine)}


def detect_os() -> Mapping[str, ResourceValue]:
    """Detect ``os.type`` and ``os.version``."""
    return dict(OsResourceDetector().detect().attributes)  # pyright: ignore[reportReturnType]


def detect_container(proc: Path = Path("/proc/self")) -> Mapping[str, ResourceValue]:
    """Detect ``container.id`` from the control group, or from the mounts under cgroup v2, where there is one."""
    mounts = [line for line in _lines(proc / "mountinfo") if "/containers/" in line or "/docker/" in line]
    for line in (*_lines(proc / "cgroup"), *mounts):
        match = _CONTAINER_ID.search(line)
        if match:
            return {"container.id": match.group()}
    return {}


def detect_kubernetes(environ: Mapping[str, str] = os.environ) -> Mapping[str, ResourceValue]:
    """Detect ``k8s.*`` from the environment, where the downward API puts it.

    Returns:
        What the environment says; in a pod without the downward API at least the pod's name, which
        Kubernetes makes the host name.
    """
    found: dict[str, ResourceValue] = {}
    if "KUBERNETES_SERVICE_HOST" not in environ:
        return found
    for key, variables in _KUBERNETES.items():
        value = next((environ[variable] for variable in variables if environ.get(variable)), None)
        if value is not None:
            found[key] = value
    if "k8s.pod.name" not in found and environ.get("HOSTNAME"):
        found["k8s.pod.name"] = environ["HOSTNAME"]
    return found


DETECTORS: Mapping[str, Callable[[], Mapping[str, ResourceValue]]] = {
    "process": detect_process,
    "host": detect_host,
    "os": detect_os,
    "container": detect_container,
    "kubernetes": detect_kubernetes,
}
"""What the setting ``detectors`` can name; later ones win where two know the same key."""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
