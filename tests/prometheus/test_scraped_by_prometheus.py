"""A real Prometheus scrapes the own server in every way it can be protected, with right and with wrong credentials."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bcrypt
import pytest

from otelbridge.prometheus.access import Access, AccessOptions
from otelbridge.prometheus.serving import MetricsSite
from otelbridge.prometheus.tls import ServerTls, TlsOptions
from otelbridge.prometheus.web_config import WebConfigFile
from otelbridge.stack import ToolMissingError, locate
from otelbridge.stack.prometheus_config import command
from tests.components import free_port, missing
from tests.prometheus.endpoint_kit import CHEAP_HASH, Authority, eventually, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.components

TOKEN, WRONG = "canary-token", "canary-wrong"


@dataclass
class Exposition:
    content_type: str
    body: bytes


def render(wanted: str) -> Exposition:
    """One sample, in the oldest format."""
    return Exposition("text/plain; version=0.0.4; charset=utf-8", b"# TYPE kit_sample gauge\nkit_sample 7\n")


@dataclass
class Job:
    """A target and how Prometheus is told to scrape it."""

    name: str
    port: int
    settings: str = ""
    up: bool = True


def write_config(path: Path, jobs: list[Job]) -> None:
    lines = ["global: {scrape_interval: 1s, scrape_timeout: 1s}", "scrape_configs:"]
    for job in jobs:
        lines += [f"- job_name: {job.name}", f"  static_configs: [{{targets: ['localhost:{job.port}']}}]"]
        lines += [f"  {job.settings}"] if job.settings else []
    path.write_text("\n".join(lines) + "\n")


def tls_config(authority: Authority, client=None) -> str:
    shown = f", cert_file: {client.cert}, key_file: {client.key}" if client else ""
    return f"scheme: https\n  tls_config: {{ca_file: {authority.ca_file}{shown}}}"


def serve(undo: ExitStack, rules: AccessOptions | None = None, tls: ServerTls | None = None) -> int:
    site = MetricsSite(render, str, Access(rules))
    return undo.enter_context(serving(site.answer, tls)).port


def make_jobs(undo: ExitStack, directory: Path) -> list[Job]:
    authority = Authority(directory / "ca")
    server = authority.issue("server", "localhost")
    known, other = authority.issue("known", "prometheus.example"), authority.issue("other", "other.example")
    tls = TlsOptions(cert_file=server.cert, key_file=server.key)
    mutual = TlsOptions(cert_file=server.cert, key_file=server.key, client_ca_file=authority.ca_file)
    bearer = serve(undo, AccessOptions(bearer_token=TOKEN))
    basic = serve(undo, AccessOptions(basic_users={"anna": CHEAP_HASH}))
    secret = serve(undo, tls=ServerTls(mutual))
    named = serve(undo, AccessOptions(client_names=("prometheus.example",)), ServerTls(mutual))
    web = directory / "ca" / "web.config.yml"
    web.write_text(
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
        f"basic_auth_users: {{anna: {bcrypt.hashpw(b'right', bcrypt.gensalt(4)).decode()}}}\n"
    )
    file = WebConfigFile(web)
    site = MetricsSite(render, str, file.access(), headers=file.headers)
    by_file = undo.enter_context(serving(site.answer, file.server_tls())).port
    return [
        Job("plain", serve(undo)),
        Job("tls", serve(undo, tls=ServerTls(tls)), tls_config(authority)),
        Job("bearer", bearer, f"authorization: {{credentials: {TOKEN}}}"),
        Job("bearer_wrong", bearer, f"authorization: {{credentials: {WRONG}}}", up=False),
        Job("bearer_missing", bearer, up=False),
        Job("basic", basic, "basic_auth: {username: anna, password: right}"),
        Job("basic_wrong", basic, f"basic_auth: {{username: anna, password: {WRONG}}}", up=False),
        Job("basic_nobody", basic, "basic_auth: {username: nobody, password: right}", up=False),
        Job("mtls", secret, tls_config(authority, known)),
        Job("mtls_missing", secret, tls_config(authority), up=False),
        Job("named", named, tls_config(authority, known)),
        Job("named_other", named, tls_config(authority, other), up=False),
        Job("web_config", by_file, f"basic_auth: {{username: anna, password: right}}\n  {tls_config(authority)}"),
        Job("web_config_missing", by_file, tls_config(authority), up=False),
    ]


def query(url: str, expression: str) -> dict[str, float]:
    """Values by job."""
    address = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(address, timeout=60) as answer:
        result = json.load(answer)["data"]["result"]
    return {series["metric"]["job"]: float(series["value"][1]) for series in result}


def last_errors(url: str) -> dict[str, str]:
    """What was wrong with the last scrape, by job."""
    with urllib.request.urlopen(f"{url}/api/v1/targets", timeout=60) as answer:
        return {each["labels"]["job"]: each["lastError"] for each in json.load(answer)["data"]["activeTargets"]}


UNAUTHORIZED = "server returned HTTP status 401 Unauthorized"
REFUSALS = {
    **dict.fromkeys(
        ("bearer_wrong", "bearer_missing", "basic_wrong", "basic_nobody", "web_config_missing"), UNAUTHORIZED
    ),
    "mtls_missing": "certificate required",
    "named_other": "server returned HTTP status 403 Forbidden",
}


def refusals(errors: dict[str, str]) -> dict[str, str]:
    """Why each job is refused, without the address that TLS adds."""
    return {job: error.rpartition("tls: ")[2] for job, error in errors.items() if error}


@pytest.fixture
def prometheus(tmp_path) -> Iterator:
    try:
        tool = locate("prometheus", may_download=False, may_build=False)
    except ToolMissingError as error:
        missing("prometheus", f"{error.problem}. `otelbridge stack build` gets it")
    processes = []

    def start(jobs: list[Job]) -> str:
        config, port = tmp_path / "prometheus.yml", free_port()
        write_config(config, jobs)
        arguments = command(tool.path, tool.version, config=config, data=tmp_path / "data", port=port)
        with (tmp_path / "prometheus.log").open("wb") as log:
            processes.append(subprocess.Popen(arguments, stdout=log, stderr=log))
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert processes[0].poll() is None, (tmp_path / "prometheus.log").read_text()
            try:
                return query(url, "up") != {}
            except OSError:
                return False

        eventually(answers)
        return url

    yield start
    for process in processes:
        process.terminate()
        process.wait(60)


def test_every_protection_lets_in_who_shows_what_it_asks_for_and_nobody_else(prometheus, tmp_path, caplog) -> None:
    with ExitStack() as undo:
        jobs = make_jobs(undo, tmp_path)
        url = prometheus(jobs)
        expected = {job.name: float(job.up) for job in jobs}
        eventually(lambda: query(url, "up") == expected, f"not as expected: {query(url, 'up')}")
        # Prometheus keeps its connections; they take many requests.
        eventually(lambda: min(query(url, "sum_over_time(up[1m]) > 0").values()) >= 5)
        # On a busy machine a scrape takes too long once in a while, and has no sample then.
        samples = {job.name: 7.0 for job in jobs if job.up}
        eventually(lambda: query(url, "kit_sample") == samples, f"not as expected: {query(url, 'kit_sample')}")
        eventually(lambda: refusals(last_errors(url)) == REFUSALS, f"not as expected: {last_errors(url)}")
    assert caplog.records == []
