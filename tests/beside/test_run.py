"""`otelbridge run`, and `opentelemetry-instrument` with otelbridge: programs that do not call it, on real servers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from otelbridge.automatic import HOOK
from tests.cells.servers import COMMANDS, ROOT, clean_environment, eventually, running
from tests.components import free_port

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.endtoend

RUN = [sys.executable, "-m", "otelbridge", "run"]
INSTRUMENT = [str(Path(sys.executable).with_name("opentelemetry-instrument"))]
PLAIN, CALLING = "tests.beside.plain_app:app", "tests.beside.calling_app:app"


def total(page: str, name: str, route: str) -> float:
    """Add up the samples of a name and a route."""
    lines = [line for line in page.splitlines() if line.startswith(f"{name}{{") and f'http_route="{route}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def requests(page: str, route: str = "/users/{number}") -> float:
    return total(page, "http_server_request_duration_seconds_count", route)


@pytest.fixture
def own_port():
    return free_port()


@pytest.fixture
def environment(own_port):
    return {"OTEL_EXPORTER_PROMETHEUS_PORT": str(own_port)}


@pytest.fixture
def served(tmp_path, environment):
    """Runs a server until it answers."""

    def serve(kind, app, prefix=RUN, workers=1, **more):
        port = free_port()
        command = [*prefix, *COMMANDS[kind](app, port, workers)]
        return running(command, log_file=tmp_path / "log", port=port, environment={**environment, **more})

    return serve


def ready(server, workers: int = 1) -> None:
    server.wanted = workers if workers > 1 else 0
    eventually(server.answers, lambda: f"the server is ready:\n{server.log()}")


def test_an_application_is_recorded_and_serves(served, own_port) -> None:
    with served("uvicorn", PLAIN) as server:
        ready(server)
        for path in ("/users/1", "/users/2", "/inner/users/1"):
            assert server.ask(path)[0] == 200
        pages = [
            server.ask("/metrics")[1].decode(),
            urllib.request.urlopen(f"http://localhost:{own_port}/metrics").read().decode(),
        ]
        for page in pages:
            assert requests(page) == 2
            assert requests(page, "/inner/users/{number}") == 1
            assert 'http_route="/metrics"' not in page
        assert server.ask("/inner/metrics")[0] == 404
        assert server.ask("/healthz")[0] == 404
        server.send(signal.SIGINT)
        assert server.process.wait(60) in (0, -signal.SIGINT)


@pytest.mark.parametrize("kind", ["uvicorn", "gunicorn uvicorn"])
def test_workers_are_one_service(served, kind) -> None:
    with served(kind, PLAIN, workers=2) as server:
        ready(server, 2)
        for _ in range(20):
            assert server.ask("/users/1")[0] == 200
        for _ in range(4):
            assert requests(server.ask("/metrics")[1].decode()) == 20


@pytest.mark.parametrize("prefix", [RUN, INSTRUMENT])
@pytest.mark.parametrize("service", ["", "shop"])
def test_an_application_that_calls_init_goes_on(served, prefix, service, entry_points) -> None:
    more = {} if prefix is RUN else {"OTEL_PYTHON_DISTRO": "otelbridge", **entry_points}
    with served("uvicorn", CALLING, prefix, CALLED=service, **more) as server:
        ready(server)
        assert server.ask("/users/1")[0] == 200
        page = server.ask("/metrics")[1].decode()
    assert requests(page) == 1
    assert ('service_name="shop"' in page) == bool(service)


_SCRIPT = """
import json, os, sys, urllib.request
import opentelemetry.metrics
opentelemetry.metrics.get_meter("mine").create_counter("mine.count").add(2)
url = f"http://localhost:{os.environ['OTEL_EXPORTER_PROMETHEUS_PORT']}/metrics"
page = urllib.request.urlopen(url).read().decode()
print(json.dumps([os.getpid(), sys.argv[1:], __name__, "mine_count_total 2" in page, sys.path]), flush=True)
"""


@pytest.mark.parametrize("way", [["{file}"], ["-m", "script"]])
def test_a_script_keeps_its_arguments_path_and_exit_code(tmp_path, environment, way) -> None:
    (tmp_path / "script.py").write_text(_SCRIPT + "sys.exit(3)\n")
    arguments = ["--", "-x", "--help", "a b", "", "run"]
    program = [sys.executable, *(part.format(file=tmp_path / "script.py") for part in way), *arguments]
    told = []
    for prefix in ([], RUN):
        with subprocess.Popen(
            [*prefix, *program],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            env={**clean_environment(environment), "PYTHONPATH": str(ROOT)},
        ) as process:
            if not prefix:
                # Nobody serves without it.
                assert process.wait(60) == 1
                continue
            output = process.communicate(timeout=60)[0]
        assert process.returncode == 3
        told = json.loads(output)
        assert told[0] == process.pid  # the program itself, and no parent of it
    assert told[1:4] == [arguments, "__main__", True]
    assert str(HOOK) not in told[4]


def test_a_signal_ends_the_program_as_without(tmp_path, environment) -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    ended = subprocess.run([*RUN, sys.executable, "-c", script], env=clean_environment(environment), check=False)
    assert ended.returncode == -signal.SIGTERM


def test_what_python_ignores_is_not_ignored_by_the_program(environment) -> None:
    ended = subprocess.run(
        [*RUN, "sh", "-c", "yes | head -n 1"], env=clean_environment(environment), capture_output=True, check=True
    )
    assert (ended.stdout, ended.stderr) == (b"y\n", b"")


@pytest.mark.parametrize(
    ("program", "more", "said"),
    [
        (["there-is-no-such-program"], {}, r"There is no program 'there-is-no-such-program'"),
        ([], {}, r"No program is named"),
        ([sys.executable, "-c", "print('ran')"], {"OTELBRIDGE_WORKERS": "many"}, r"OTELBRIDGE_WORKERS"),
        (["plain.py", "-x"], {}, r"'plain.py' cannot be run as a program.*\n.*: otelbridge run python plain.py -x$"),
        (["./plain.py"], {}, r"otelbridge run python ./plain.py"),
        (["./executable.py"], {}, r"'./executable.py' cannot be run as a program \(Exec format error\)"),
        (["./absent"], {}, r"There is no program './absent'"),
    ],
)
def test_what_cannot_be_run_is_an_error_before_it_runs(program, more, said, tmp_path) -> None:
    for name, mode in (("plain.py", 0o644), ("executable.py", 0o755)):
        (tmp_path / name).write_text("print('ran')\n")
        (tmp_path / name).chmod(mode)
    environment = {**clean_environment(more), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([*RUN, *program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.search(said, ended.stderr)
    assert ended.stderr.startswith("error: ")


def test_a_port_that_is_taken_does_not_keep_the_program_from_running(environment, own_port) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", own_port))
        taken.listen()
        ended = subprocess.run(
            [*RUN, sys.executable, "-c", "print('ran')"],
            env=clean_environment({**environment, "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1"}),
            capture_output=True,
            text=True,
            check=True,
        )
    assert ended.stdout == "ran\n"
    assert "cannot listen" in ended.stderr


def hooked(*more: Path) -> dict[str, str]:
    return {**clean_environment(), "PYTHONPATH": os.pathsep.join(map(str, (HOOK, *more)))}


def test_a_sitecustomize_that_was_there_is_run_too(tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('theirs', __name__)")
    ended = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.modules['sitecustomize'].__file__)"],
        env={**hooked(tmp_path, ROOT), "OTELBRIDGE_PROMETHEUS": "off"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split("\n")[:2] == ["theirs sitecustomize", str(tmp_path / "sitecustomize.py")]
    assert ended.stderr == ""


def test_an_interpreter_without_otelbridge_runs_the_program_and_says_so(tmp_path) -> None:
    (tmp_path / "otelbridge").mkdir()
    (tmp_path / "otelbridge" / "__init__.py").touch()
    ended = subprocess.run(
        [sys.executable, "-c", "print('ran')"], env=hooked(tmp_path), capture_output=True, text=True, check=True
    )
    assert ended.stdout == "ran\n"
    assert "otelbridge is not started" in ended.stderr


@pytest.fixture
def entry_points(tmp_path):
    """An environment with the entry points as pyproject.toml has them, however long ago the package was installed."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    metadata = tmp_path / "site" / "otelbridge-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: otelbridge\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in names.items())
            for group, names in groups.items()
        )
    )
    return {"PYTHONPATH": os.pathsep.join(map(str, (metadata.parent, ROOT)))}


@pytest.mark.parametrize("variable", ["OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"])
def test_opentelemetry_instrument_starts_otelbridge_where_it_is_named(served, entry_points, variable) -> None:
    more = {variable: "otelbridge", "OTEL_METRICS_EXPORTER": "prometheus"}
    with served("uvicorn", PLAIN, INSTRUMENT, **more, **entry_points) as server:
        ready(server)
        assert server.ask("/users/1")[0] == 200
        page = server.ask("/metrics")[1].decode()
        log = server.log()
    assert requests(page) == 1
    # Of what otelbridge measures by itself nobody says that it cannot be, or is already.
    assert "be instrumented" not in log
    assert "already instrumented" not in log
    memory = [line for line in page.splitlines() if line.startswith("process_memory_usage_bytes ")]
    assert len(memory) == 1


def test_instrumentations_that_were_switched_off_stay_off(environment, entry_points) -> None:
    more = {"OTEL_PYTHON_DISTRO": "otelbridge", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "logging, httpx"}
    script = "import os; print(os.environ['OTEL_PYTHON_DISABLED_INSTRUMENTATIONS'])"
    ended = subprocess.run(
        [*INSTRUMENT, sys.executable, "-c", script],
        env=clean_environment({**environment, **more, **entry_points}),
        capture_output=True,
        text=True,
        check=True,
    )
    names = ended.stdout.strip().split(",")
    assert len(names) == len(set(names))
    assert {"logging", "httpx", "asgi", "fastapi", "system_metrics"} <= set(names)


def test_opentelemetry_instrument_does_without_otelbridge_where_it_is_not_named(served, entry_points) -> None:
    more = {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "console", "OTEL_LOGS_EXPORTER": "none"}
    with served("uvicorn", PLAIN, INSTRUMENT, **more, **entry_points) as server:
        ready(server)
        assert server.ask("/users/1")[0] == 200
        assert server.ask("/metrics")[0] == 404
        server.send(signal.SIGINT)
        server.process.wait(60)
        assert '"name": "GET /users/{number}"' in server.log()  # the other configurator has done its work


_DETECTOR = """
import os, subprocess, sys
from opentelemetry.sdk.resources import Resource, ResourceDetector

class Asking(ResourceDetector):
    '''Asks a command that is written in Python, as cloud providers' are.'''

    def detect(self):
        with open(os.environ["ASKED"], "a") as file:
            file.write("once\\n")
        if os.path.getsize(os.environ["ASKED"]) < 20:
            subprocess.run([sys.executable, "-c", ""], check=True)
        return Resource({"asked": "yes"})
"""


def test_what_is_started_while_otelbridge_starts_does_not_start_it_again(tmp_path, environment) -> None:
    site, asked = tmp_path / "site", tmp_path / "asked"
    metadata = site / "asking-1.dist-info"
    metadata.mkdir(parents=True)
    (site / "asking.py").write_text(_DETECTOR)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: asking\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[opentelemetry_resource_detector]\nasking = asking:Asking\n")
    path = os.pathsep.join(map(str, (site, ROOT)))
    more = {"PYTHONPATH": path, "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "asking", "ASKED": str(asked)}
    ended = subprocess.run(
        [*RUN, sys.executable, "-c", "import os; print(os.environ['PYTHONPATH'])"],
        env=clean_environment({**environment, **more}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.read_text() == "once\n"
    assert ended.stdout == f"{os.pathsep.join((str(HOOK), path))}\n"  # which the program's own programs have
