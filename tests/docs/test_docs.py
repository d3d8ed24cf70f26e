"""The documents say what is so: their code runs, their series are there, their links and names exist."""

from __future__ import annotations

import os
import pkgutil
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from otelbridge.catalogue.registry import DOMAINS
from otelbridge.stack import StackError, locate
from tests.components import missing
from tests.docs.blocks import Block, blocks
from tests.receiver import Receiver

pytestmark = pytest.mark.endtoend

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide.md"
README = ROOT / "README.md"
DOCUMENTS = (
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
_EXECUTED = {"python", "prometheus", "promql", "yaml"}
_SHOWN_ONLY = {
    "": "a picture or words",
    "sh": "commands for a shell, some of which start servers",
}

# What the README leaves to its reader's imagination, and what its reader would do next.
_PRELUDE = """
from sqlalchemy import create_engine
engine = create_engine("sqlite:///readme.db")
async def llm(question):
    return "forty-two"
"""
_FINALE = """
import asyncio, httpx

async def get(path):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hello") as client:
        return (await client.get(path)).text

assert asyncio.run(answer("what?")) == "forty-two"
asyncio.run(send_invoice(7))
assert asyncio.run(get("/")) == '"hello"'
page = asyncio.run(get("/metrics"))
for series in (
    'gen_ai_client_inference_usage_input_tokens_total{gen_ai_operation_name="chat",gen_ai_provider_name="local"',
    'gen_ai_client_inference_usage_input_tokens_total{gen_ai_operation_name="chat",gen_ai_provider_name="openai"',
    'cost_usage_total{',
    'business_revenue_total{business_revenue_source="answers",currency="EUR"} 0.1',
    'task_duration_seconds_count{task_name="send_invoice",task_queue_name="billing",task_result="success"} 1',
    'http_server_request_duration_seconds_count{',
):
    assert "\\n" + series in page, series
"""


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def _environment(**more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL", "PYTHONWARNINGS"))}
    return {**clean, "PYTHONPATH": str(ROOT), "OTEL_EXPORTER_PROMETHEUS_PORT": "0", **more}


def _run(folder: Path, *arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", *arguments],
        cwd=folder,
        env=_environment(**environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stderr


def _block(document: Path, file: str) -> Block:
    (found,) = [block for block in blocks(document) if block.file == file]
    return found


def test_the_code_of_the_readme_runs_and_does_what_it_says(tmp_path) -> None:
    _run(tmp_path, "tests.docs.blocks", str(README), _PRELUDE, _FINALE)


def test_the_code_of_the_guide_runs_and_its_series_are_there(tmp_path, receiver) -> None:
    log = _run(tmp_path, "tests.docs.blocks", str(GUIDE), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    # Two mistakes are made there on purpose; nothing else is worth a word.
    assert [line[:40] for line in log.splitlines()] == [
        "business.order.value cannot take the neg",
        "'vanished' is no value of business.subsc",
    ]
    spans = {span.name: span.trace_id for span in receiver.spans()}
    assert set(spans) == {"checkout"}
    assert _exemplars(receiver, "business.order.value") == set(spans.values())


def test_the_test_of_the_guide_passes(tmp_path) -> None:
    block = _block(GUIDE, "test_checkout.py")
    (tmp_path / "test_checkout.py").write_text(block.text)
    _run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "test_checkout.py")


@pytest.mark.parametrize("lifespan", [True, False], ids=["lifespan", "no lifespan"])
def test_the_last_numbers_need_the_lifespan_under_uvicorn(tmp_path, receiver, lifespan) -> None:
    code = _block(GUIDE, "main.py").text
    (tmp_path / "main.py").write_text(code if lifespan else code.replace("FastAPI(lifespan=lifespan)", "FastAPI()"))
    environment = _environment(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    command = [sys.executable, "-m", "uvicorn", "main:app", "--port", "0", "--no-access-log"]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    with server:
        try:
            url = _url(server)
            assert httpx.post(f"{url}/orders").status_code == 200
        finally:
            server.send_signal(signal.SIGTERM)
    assert server.returncode == -signal.SIGTERM
    assert ("business.order.value" in _metrics(receiver)) is lifespan


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document: Path) -> None:
    text = _prose(document)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, heading = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{link} leads nowhere"
        if heading:
            assert heading in _headings(target), f"{link} leads to no heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_otelbridge_exist(document: Path) -> None:
    metrics = [metric for domain in DOMAINS for metric in domain.metrics]
    declared = {domain.meter for domain in DOMAINS} | {metric.name for metric in metrics}
    declared |= {key for metric in metrics for key in metric.attribute_keys}
    for name in re.findall(r"(?<![\w.])otelbridge(?:\.[a-zA-Z_]\w*)+", document.read_text(encoding="utf-8")):
        assert name in declared or pkgutil.resolve_name(name) is not None


@pytest.mark.parametrize("document", [README, GUIDE], ids=lambda path: path.name)
def test_every_block_is_executed_or_says_why_not(document: Path) -> None:
    assert {block.language for block in blocks(document)} <= _EXECUTED | _SHOWN_ONLY.keys()


@pytest.mark.components
def test_prometheus_understands_the_queries_of_the_guide(tmp_path) -> None:
    try:
        promtool = locate("promtool")
    except StackError as error:
        missing("promtool", str(error))
    queries = [block.text.strip() for block in blocks(GUIDE) if block.language == "promql"]
    assert len(queries) > 10
    rules = "".join(f"  - record: query:{number}\n    expr: {query!r}\n" for number, query in enumerate(queries))
    file = tmp_path / "rules.yaml"
    file.write_text(f"groups:\n- name: guide\n  rules:\n{rules}")
    result = subprocess.run(
        [promtool.path, "check", "rules", file], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _url(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise AssertionError(f"the server ended with {server.wait()}")


def _metrics(receiver: Receiver) -> set[str]:
    return {
        metric.name
        for path, _, message in receiver.requests
        if path == "/v1/metrics"
        for resource in message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def _exemplars(receiver: Receiver, name: str) -> set[bytes]:
    return {
        exemplar.trace_id
        for path, _, message in receiver.requests
        if path == "/v1/metrics"
        for resource in message.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.histogram.data_points
        for exemplar in point.exemplars
    }


def _prose(document: Path) -> str:
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda code: code[0] if "](" not in code[0] else "", text)


def _headings(document: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", _prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
