"""The example shop: what its routes do, what metrics they leave, and the demo as a whole."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import otelbridge
from examples.shop.app import create_app
from otelbridge.errors import OtelbridgeError
from otelbridge.stack import locate
from tests.components import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

pytestmark = pytest.mark.endtoend

ROOT = Path(__file__).parents[2]


class Customer:
    """Uses the shop over ASGI and reads its metrics."""

    def __init__(self, app: FastAPI) -> None:
        self.parts = app.state.shop
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://shop"
        )

    async def status(self, method: str, path: str, **body: Any) -> int:
        return (await self.client.request(method, path, json=body)).status_code

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a name that have these labels; -1 where there is none."""
        page = (await self.client.get("/metrics")).text
        found = [
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and sample.labels.items() >= labels.items()
        ]
        return sum(found) if found else -1


@pytest.fixture
async def customer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Customer]:
    for name in [name for name in os.environ if name.startswith(("OTEL_", "OTELBRIDGE_"))]:
        monkeypatch.delenv(name)
    app = create_app(f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}")
    try:
        async with app.router.lifespan_context(app):
            customer = Customer(app)
            async with customer.client:
                yield customer
    finally:
        otelbridge.shutdown()


async def test_products_come_from_the_cache_the_second_time(customer: Customer) -> None:
    listed = (await customer.client.get("/products")).json()
    assert [product["name"] for product in listed][:2] == ["kettle", "teapot"]
    for _ in range(2):
        shown = (await customer.client.get("/products/1")).json()
        assert (shown["name"], shown["stock"]) == ("kettle", 500)
    assert await customer.metric("cache_requests_total", cache_name="products", cache_result="miss") == 1
    assert await customer.metric("cache_requests_total", cache_name="products", cache_result="hit") == 1
    assert await customer.metric("cache_entry_count") == 1
    assert await customer.metric("cache_memory_usage_bytes") > 0
    route = {"http_route": "/products/{product_id}", "http_response_status_code": "200"}
    assert await customer.metric("http_server_request_duration_seconds_count", **route) == 2


async def test_an_unknown_product_is_not_found(customer: Customer) -> None:
    assert await customer.status("GET", "/products/999") == 404
    assert await customer.status("POST", "/orders", product_id=999, email="ann@example.org") == 404
    statuses = {"http_response_status_code": "404"}
    assert await customer.metric("http_server_request_duration_seconds_count", **statuses) == 2


async def test_an_order_leaves_business_payments_tasks_and_database(customer: Customer) -> None:
    answer = await customer.client.post("/orders", json={"product_id": 1, "email": "ann@example.org"})
    assert (answer.status_code, answer.json()["cents"]) == (201, 3490)
    assert (await customer.client.get("/products/1")).json()["stock"] == 499
    await customer.parts.jobs.finish()
    paid = {"currency": "EUR", "business_order_status": "completed"}
    assert await customer.metric("business_order_value_count", **paid) == 1
    assert await customer.metric("business_order_value_sum", **paid) == pytest.approx(34.90)
    assert await customer.metric("business_revenue_total", business_revenue_source="orders") == pytest.approx(34.90)
    for operation in ("charge", "invoice_create"):
        succeeded = {"business_payment_operation": operation, "business_payment_result": "success"}
        assert await customer.metric("business_payment_duration_seconds_count", **succeeded) == 1
    for step in ("order", "payment"):
        done = {"business_journey_step": step, "business_journey_outcome": "completed"}
        assert await customer.metric("business_journey_steps_total", **done) == 1
    for task in ("send_invoice", "send_mail"):
        done = {"task_name": task, "task_queue_name": "shop", "task_result": "success"}
        assert await customer.metric("task_duration_seconds_count", **done) == 1
    assert await customer.metric("task_dependency_duration_seconds_count", task_name="send_invoice") == 1
    assert await customer.metric("task_queue_size") == 0
    assert await customer.metric("task_worker_count", task_worker_state="idle") == 3
    inserted = {"db_operation_name": "INSERT", "db_collection_name": "orders"}
    assert await customer.metric("db_client_operation_duration_seconds_count", **inserted) == 1
    committed = {"db_client_transaction_outcome": "commit"}
    assert await customer.metric("db_client_transaction_duration_seconds_count", **committed) > 0


async def test_a_sold_out_product_is_a_conflict_and_a_rollback(customer: Customer) -> None:
    rolled_back = {"db_client_transaction_outcome": "rollback"}
    before = max(0, await customer.metric("db_client_transaction_duration_seconds_count", **rolled_back))
    assert await customer.status("POST", "/orders", product_id=6, email="ann@example.org") == 409
    assert await customer.metric("db_client_transaction_duration_seconds_count", **rolled_back) == before + 1
    assert await customer.metric("business_journey_steps_total", business_journey_outcome="abandoned") == 1
    assert await customer.metric("business_order_value_count") == -1


async def test_a_declined_card_is_a_failed_payment(customer: Customer) -> None:
    order = {"product_id": 1, "email": "eve@example.org", "card": "declined"}
    assert await customer.status("POST", "/orders", **order) == 402
    failed = {"business_payment_result": "failure", "error_type": "examples.shop.payments.PaymentDeclinedError"}
    assert await customer.metric("business_payment_duration_seconds_count", **failed) == 1
    assert await customer.metric("business_order_value_count", business_order_status="failed") == 1
    assert await customer.metric("business_revenue_total") == -1


async def test_an_answer_leaves_agents_tokens_and_cost(customer: Customer) -> None:
    question = {"question": "Why is the desk made of oak?"}
    first = (await customer.client.post("/answers", json=question)).json()["answer"]
    second = (await customer.client.post("/answers", json=question)).json()["answer"]
    assert first == second
    assert len(first.split()) == 24
    assert await customer.metric("gen_ai_invoke_workflow_duration_seconds_count") == 2
    called = {"gen_ai_agent_name": "adviser", "agent_caller_name": "router", "gen_ai_request_model": "tiny-1"}
    assert await customer.metric("gen_ai_invoke_agent_duration_seconds_count", **called) == 2
    tool = {"gen_ai_tool_name": "search_products", "gen_ai_agent_name": "adviser"}
    assert await customer.metric("gen_ai_execute_tool_duration_seconds_count", **tool) == 2
    tokens = "gen_ai_client_inference_usage"
    assert await customer.metric(f"{tokens}_output_tokens_total", gen_ai_response_model="tiny-1-2026") == 2 * 36
    assert await customer.metric(f"{tokens}_reasoning_output_tokens_total") == 2 * 12
    read = await customer.metric(f"{tokens}_cache_read_input_tokens_total")
    assert read == await customer.metric(f"{tokens}_cache_write_input_tokens_total") > 0
    spent = await customer.metric(f"{tokens}_input_tokens_total") + 2 * 36
    cost = {"currency": "USD", "cost_source": "local", "gen_ai_agent_name": "adviser"}
    assert await customer.metric("cost_usage_total", **cost) == pytest.approx(spent * 0.000_01)
    assert await customer.metric("agent_budget_consumption_total") == spent
    assert await customer.metric("agent_budget_limit") == 2000
    assert await customer.metric("agent_decision_confidence_count", gen_ai_agent_name="router") == 2
    assert await customer.metric("agent_invocation_active", gen_ai_agent_name="adviser") == 0
    assert await customer.metric("business_revenue_total", business_revenue_source="answers") == pytest.approx(0.2)


async def test_a_streamed_answer_has_a_pace(customer: Customer) -> None:
    question = {"question": "Where is my order 1?"}
    text = (await customer.client.post("/answers/stream", json=question)).text
    assert len(text.split()) == 24
    assert await customer.metric("gen_ai_client_inference_time_to_first_chunk_seconds_count") == 1
    assert await customer.metric("gen_ai_client_inference_time_per_output_chunk_seconds_count") == 23


async def test_a_tool_that_finds_nothing_to_look_up_fails_and_the_answer_goes_on(customer: Customer) -> None:
    assert await customer.status("POST", "/answers", question="Where is my order?") == 200
    failed = {"gen_ai_tool_name": "look_up_order", "error_type": "LookupError"}
    assert await customer.metric("gen_ai_execute_tool_duration_seconds_count", **failed) == 1


async def test_a_busy_model_is_service_unavailable(customer: Customer) -> None:
    assert await customer.status("POST", "/answers", question="overload") == 503
    failed = {"error_type": "examples.shop.model.OverloadedError"}
    for name in ("client_inference", "invoke_agent", "invoke_workflow"):
        counted = await customer.metric(f"gen_ai_{name}_duration_seconds_count", **failed)
        assert counted == (2 if name == "invoke_agent" else 1)


async def test_an_exceeded_budget_makes_answers_short(customer: Customer) -> None:
    customer.parts.answers.budget.spend(2001)
    answer = (await customer.client.post("/answers", json={"question": "Which lamp?"})).json()["answer"]
    assert len(answer.split()) == 8
    assert await customer.metric("agent_budget_overruns_total", agent_budget_name="answer_tokens") == 1


@pytest.mark.parametrize(
    ("product_id", "status", "outcome"), [(1, 200, "approved"), (4, 403, "timeout"), (5, 403, "rejected")]
)
async def test_refunds_need_an_approval(customer: Customer, product_id: int, status: int, outcome: str) -> None:
    order = {"product_id": product_id, "email": "ann@example.org"}
    number = (await customer.client.post("/orders", json=order)).json()["id"]
    assert await customer.status("POST", f"/orders/{number}/refund") == status
    decided = {"agent_approval_type": "refund", "agent_approval_outcome": outcome}
    assert await customer.metric("agent_approval_duration_seconds_count", **decided) == 1
    refunded = await customer.metric("business_payment_duration_seconds_count", business_payment_operation="refund")
    assert refunded == (1 if status == 200 else -1)


async def test_only_paid_orders_are_refunded(customer: Customer) -> None:
    assert await customer.status("POST", "/orders/77/refund") == 404


async def test_users_and_subscriptions_are_counted_as_events_and_as_a_state(customer: Customer) -> None:
    assert await customer.status("POST", "/users", email="ann@example.org", channel="app") == 201
    numbers = [
        (await customer.client.post("/subscriptions", json={"email": "ann@example.org", "plan": "pro"})).json()["id"]
        for _ in range(2)
    ]
    assert await customer.status("DELETE", f"/subscriptions/{numbers[0]}") == 200
    assert await customer.status("DELETE", "/subscriptions/77") == 404
    assert await customer.status("POST", "/subscriptions", email="ann@example.org", plan="gold") == 422
    await customer.parts.snapshots.refresh()
    assert await customer.metric("business_user_registrations_total", business_user_channel="app") == 1
    for change, count in (("created", 2), ("cancelled", 1)):
        changed = {"business_subscription_change": change, "business_subscription_plan": "pro"}
        assert await customer.metric("business_subscription_changes_total", **changed) == count
    active = {"business_subscription_plan": "pro", "business_subscription_state": "active"}
    assert await customer.metric("business_subscription_count", **active) == 1
    assert await customer.metric("business_subscription_recurring_value", **active) == pytest.approx(19.90)
    assert await customer.metric("business_user_active", business_user_period="1d") == 1


async def test_a_session_lasts_as_long_as_the_offers_are_open(customer: Customer) -> None:
    events = (await customer.client.get("/offers")).text
    assert events.count("data: ") == 6
    assert await customer.metric("business_session_duration_seconds_count", business_user_type="customer") == 1
    assert await customer.metric("business_session_active") == 0


async def test_too_many_reports_exhaust_the_pool(customer: Customer) -> None:
    statuses = await asyncio.gather(*(customer.status("GET", "/reports/orders") for _ in range(12)))
    assert set(statuses) == {200, 503}
    assert await customer.metric("db_client_connection_timeouts_total") == statuses.count(503)
    assert await customer.metric("db_client_connection_max") == 4


async def test_an_export_takes_too_long(customer: Customer) -> None:
    assert await customer.status("POST", "/exports") == 202
    await customer.parts.jobs.finish()
    timed_out = {"task_name": "export_catalogue", "task_result": "timeout"}
    assert await customer.metric("task_duration_seconds_count", **timed_out) == 1
    used = {"business_feature_name": "export", "feature_flag_key": "fast_export"}
    assert await customer.metric("business_feature_uses_total", **used) == 1


async def test_refused_mail_is_tried_again_and_then_given_up(customer: Customer) -> None:
    assert await customer.status("POST", "/users", email="bounce@example.org") == 201
    await customer.parts.jobs.finish()
    refused = "examples.shop.jobs.MailRefusedError"
    mail = {"task_name": "send_mail", "error_type": refused}
    assert await customer.metric("task_duration_seconds_count", **mail, task_result="retry") == 2
    assert await customer.metric("task_duration_seconds_count", **mail, task_result="failure") == 1
    given_up = {"health_exception_origin": "task", "error_type": refused}
    assert await customer.metric("health_exceptions_total", **given_up) == 1


async def test_a_crash_is_an_unhandled_exception(customer: Customer) -> None:
    assert await customer.status("GET", "/crash") == 500
    crashed = {"http_route": "/crash", "http_response_status_code": "500"}
    assert await customer.metric("http_server_request_duration_seconds_count", **crashed) == 1
    unhandled = {"health_exception_origin": "http", "error_type": "RuntimeError"}
    assert await customer.metric("health_exceptions_total", **unhandled) == 1


def demo(*options: str) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.Popen(
        [sys.executable, "-m", "examples.shop.demo", *options],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def address_of(output: str) -> str:
    found = re.search(r"starting the shop on (\S+)", output)
    assert found, output
    return found[1]


def check_ended(output: str) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address_of(output)}/metrics", trust_env=False)


@pytest.mark.endtoend
def test_the_demo_works_without_components() -> None:
    with demo("--once", "--no-stack") as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "every domain is there" in output
    table = output.partition("HTTP requests ")[2].partition("every metric")[0]
    assert " - " not in table, output
    check_ended(output)


@pytest.mark.endtoend
def test_the_demo_ends_cleanly_on_ctrl_c() -> None:
    with demo("--no-stack") as process:
        assert process.stdout is not None
        output = ""
        while "waiting for the first numbers" not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        process.send_signal(signal.SIGINT)
        output += process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "Traceback" not in output
    check_ended(output)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with demo("--no-stack", "--port", str(port)) as process:
            output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"port {port} is taken" in output


@pytest.mark.components
def test_the_demo_shows_the_same_numbers_both_ways() -> None:
    for tool in ("otelcol", "prometheus"):
        try:
            locate(tool)
        except OtelbridgeError as error:
            missing(tool, str(error))
    with demo("--once") as process:
        output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert re.search(r"scraped +by the collector", output), output
    assert "every domain is there" in output
    orders = re.search(r"^orders paid +(\d+) +(\d+)$", output, re.MULTILINE)
    assert orders, output
    assert int(orders[1]) > 0
    assert int(orders[2]) > 0
    check_ended(output)
