from __future__ import annotations

import os
import platform
import socket
from dataclasses import replace

from otelbridge.config.options import Config, Prometheus
from otelbridge.metrics.resource import (
    DETECTORS,
    create_resource,
    detect_container,
    detect_host,
    detect_kubernetes,
    detect_os,
    detect_process,
)

_CONFIG = Config(
    workers="merged",
    run_directory=None,
    cardinality_limit=2000,
    series_limit=50_000,
    service_name=None,
    service_version=None,
    environment=None,
    resource_attributes={},
    detectors=(),
    prometheus=Prometheus(),
    otlp=(),
    domains=frozenset(),
    views=(),
    instrument=(),
    traces=False,
    exemplar_filter="trace_based",
    console=False,
    enabled=True,
)
_ID = "0123456789abcdef" * 4


def test_without_settings_the_specified_attributes_are_there() -> None:
    attributes = create_resource(_CONFIG).attributes
    assert str(attributes["service.name"]).startswith("unknown_service")
    assert attributes["telemetry.sdk.language"] == "python"
    assert attributes["service.instance.id"]


def test_settings_win_over_attributes_and_those_over_detectors() -> None:
    config = replace(
        _CONFIG,
        detectors=("host", "process"),
        service_name="shop",
        service_version="1.2",
        environment="test",
        resource_attributes={"host.name": "mine", "service.name": "loses", "service.instance.id": "one"},
    )
    attributes = create_resource(config).attributes
    assert attributes["service.name"] == "shop"
    assert attributes["service.version"] == "1.2"
    assert attributes["deployment.environment.name"] == "test"
    assert attributes["host.name"] == "mine"
    assert attributes["service.instance.id"] == "one"
    assert attributes["process.pid"] == os.getpid()


def test_every_detector_runs_here() -> None:
    for name in DETECTORS:
        create_resource(replace(_CONFIG, detectors=(name,)))


def test_process_never_shows_the_command_line() -> None:
    found = detect_process()
    assert found["process.pid"] == os.getpid()
    assert not [key for key in found if key.startswith("process.command")]


def test_a_detector_of_the_sdk_shows_no_command_line_either(monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process")
    assert not [key for key in create_resource(_CONFIG).attributes if key.startswith("process.command")]


def test_host_and_os_name_this_machine() -> None:
    assert detect_host()["host.name"] == socket.gethostname()
    assert detect_os()["os.type"] == platform.system().lower()


def test_container_id_from_cgroup_v1(tmp_path) -> None:
    (tmp_path / "cgroup").write_text(f"1:name=systemd:/docker/{_ID}\n")
    assert detect_container(tmp_path) == {"container.id": _ID}


def test_container_id_from_mounts_under_cgroup_v2(tmp_path) -> None:
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "mountinfo").write_text(f"1 2 0:1 /var/lib/docker/containers/{_ID}/hostname /etc/hostname rw\n")
    assert detect_container(tmp_path) == {"container.id": _ID}


def test_no_container_no_id(tmp_path) -> None:
    (tmp_path / "cgroup").write_text("0::/user.slice\n")
    (tmp_path / "mountinfo").write_text(f"1 2 0:1 /some/{_ID} /mnt rw\n")
    assert detect_container(tmp_path) == {}
    assert detect_container(tmp_path / "absent") == {}


def test_kubernetes_by_environment() -> None:
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "POD_NAME": "shop-1", "K8S_NAMESPACE": "prod", "HOSTNAME": "h"}
    assert detect_kubernetes(pod) == {"k8s.pod.name": "shop-1", "k8s.namespace.name": "prod"}
    bare = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "shop-2"}
    assert detect_kubernetes(bare) == {"k8s.pod.name": "shop-2"}
    assert detect_kubernetes({"POD_NAME": "not in a cluster"}) == {}


def test_what_is_no_utf8_is_made_encodable() -> None:
    attributes = create_resource(replace(_CONFIG, service_name="caf\udce9")).attributes
    assert attributes["service.name"] == "caf?"
