"""The parts of a stack that need no component: ports, options, configuration, processes."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import astuple
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.errors import ConfigError
from otelbridge.stack import ComponentFailedError, Ports, ScrapeTarget
from otelbridge.stack.cache import cache_directory, data_file
from otelbridge.stack.ports import is_free
from otelbridge.stack.processes import read, start, stop, wait_ready
from otelbridge.stack.prometheus_config import command, render
from otelbridge.stack.tools import TOOLS, parse_version

ROOT = Path(__file__).parents[2]


def test_settled_ports_are_free_and_differ() -> None:
    ports = astuple(Ports().settled())
    assert len(set(ports)) == len(ports)
    assert all(is_free(port) for port in ports)


def test_a_port_that_was_asked_for_is_kept_and_a_taken_one_is_an_error() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.listen()
        with pytest.raises(ConfigError, match=f"Port {port} of 127.0.0.1 is taken"):
            Ports(prometheus=port).settled()
    assert Ports(prometheus=port).settled().prometheus == port


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:8000", ScrapeTarget("app", "127.0.0.1:8000", "/metrics")),
        ("shop=localhost:80/internal/metrics", ScrapeTarget("shop", "localhost:80", "/internal/metrics")),
        ("shop=[::1]:80/", ScrapeTarget("shop", "[::1]:80", "/metrics")),
    ],
)
def test_a_scrape_target_is_read(text: str, target: ScrapeTarget) -> None:
    assert ScrapeTarget.parse(text) == target


@given(st.text())
def test_any_text_is_a_scrape_target_or_a_clear_error(text: str) -> None:
    try:
        target = ScrapeTarget.parse(text)
    except ConfigError:
        target = ScrapeTarget("app", "refused:1")
    assert target.path.startswith("/")
    assert 0 < int(target.address.rpartition(":")[2]) <= 65_535


@given(job=st.text(min_size=1), path=st.text())
def test_whatever_a_job_is_called_the_configuration_stays_yaml(job: str, path: str) -> None:
    text = render(
        "3.15.0",
        [ScrapeTarget(job, "h:1", path)],
        interval=0.5,
        rule_files=[Path("a rule: file.yml")],
        honoured=frozenset({job}),
    )
    config = yaml.safe_load(text)
    assert config["scrape_configs"] == [
        {"job_name": job, "metrics_path": path, "honor_labels": True, "static_configs": [{"targets": ["h:1"]}]}
    ]
    assert config["global"]["scrape_interval"] == "500ms"
    assert Path(config["rule_files"][0]).is_absolute()


@pytest.mark.parametrize(
    ("version", "setting", "flag", "otlp"),
    [("2.42.0", False, True, False), ("3.5.0", False, True, True), ("3.15.0", True, False, True)],
)
def test_each_prometheus_gets_what_its_version_knows(version: str, setting: bool, flag: bool, otlp: bool) -> None:
    config = yaml.safe_load(render(version, [], interval=1, rule_files=[], honoured=frozenset()))
    line = command(Path("prometheus"), version, config=Path("c"), data=Path("d"), port=1)
    assert ("scrape_native_histograms" in config["global"]) is setting
    assert any("native-histograms" in argument for argument in line) is flag
    assert ("otlp" in config, "--web.enable-otlp-receiver" in line) == (otlp, otlp)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OTELBRIDGE_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/otelbridge"),
        ({"HOME": "/c"}, "/c/.cache/otelbridge"),
    ],
)
def test_the_cache_is_where_the_user_wants_it(environ: dict[str, str], expected: str) -> None:
    assert cache_directory(environ) == Path(expected)


def test_the_shipped_configuration_is_the_one_in_the_repository() -> None:
    assert data_file("collector-config.yaml") == (ROOT / "collector-config.yaml").read_bytes()


def test_pins_are_at_least_the_minimum_and_the_recipes_build_them() -> None:
    for spec in TOOLS.values():
        assert parse_version(spec.package.version) >= parse_version(spec.minimum)
    assert yaml.safe_load(data_file("otelcol-builder.yaml"))["dist"]["version"] == TOOLS["otelcol"].package.version
    major, minor, patch = parse_version(TOOLS["prometheus"].package.version)
    module = f"github.com/prometheus/prometheus v0.{major}{minor:02}.{patch}"
    assert f"require {module}" in data_file("prometheus.mod").decode()


SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def test_a_component_is_known_from_its_pid_file_and_stopped_by_it(tmp_path: Path) -> None:
    started = start("sleeper", SLEEPER, run_dir=tmp_path, environ=os.environ, urls={"web": "http://x/ y"})
    (found,) = read(tmp_path)
    assert found == started
    assert found.alive
    assert stop(found, tmp_path) == "ended"
    assert not started.alive
    assert read(tmp_path) == []


def test_a_component_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from otelbridge.stack import processes

    monkeypatch.setattr(processes, "_SECONDS_TO_END", 0.2)
    started = start("stubborn", STUBBORN, run_dir=tmp_path, environ=os.environ, urls={})
    while "up" not in (tmp_path / "stubborn.log").read_text():
        assert started.alive
    assert stop(started, tmp_path) == "killed after 0.2 s"
    assert not started.alive


def test_a_pid_that_belongs_to_another_program_by_now_is_not_signalled(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL, start_new_session=True) as stranger:
        (tmp_path / "otelcol.pid").write_text(f"{stranger.pid}\nboot/12345\nweb http://x\n")
        (component,) = read(tmp_path)
        assert stop(component, tmp_path) == "was not running"
        assert stranger.poll() is None
        stranger.send_signal(signal.SIGKILL)
    assert read(tmp_path) == []


@pytest.mark.parametrize("content", ["", "no number\nx\n", "12\n", "12\nid\nurlwithoutname\n"])
def test_a_broken_pid_file_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "otelcol.pid").write_text(content)
    assert read(tmp_path) == []


def test_a_component_that_dies_early_is_told_with_its_log(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "raise SystemExit('the disk is full')"]
    started = start("doomed", line, run_dir=tmp_path, environ=os.environ, urls={})
    with pytest.raises(ComponentFailedError, match=r"doomed ended while starting:\n    the disk is full"):
        wait_ready(started, "http://127.0.0.1:1/", tmp_path, 30)


def test_another_program_that_answers_does_not_make_a_dead_component_ready(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass = type("Quiet", (_AlwaysFine,), {})
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started = start("doomed", [sys.executable, "-c", ""], run_dir=tmp_path, environ=os.environ, urls={})
        while started.alive:
            pass
        with pytest.raises(ComponentFailedError, match="ended while starting"):
            wait_ready(started, f"http://127.0.0.1:{server.server_address[1]}/", tmp_path, 30)
        server.shutdown()
        thread.join()


class _AlwaysFine(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        return


def test_a_component_that_never_answers_is_told_with_its_log(tmp_path: Path) -> None:
    started = start("sleeper", SLEEPER, run_dir=tmp_path, environ=os.environ, urls={})
    with pytest.raises(ComponentFailedError, match=r"sleeper did not answer on http://127.0.0.1:1/ within 0.3 s"):
        wait_ready(started, "http://127.0.0.1:1/", tmp_path, 0.3)
    stop(started, tmp_path)


def test_a_program_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ComponentFailedError, match="could not be started"):
        start("absent", [str(tmp_path / "absent")], run_dir=tmp_path, environ=os.environ, urls={})
