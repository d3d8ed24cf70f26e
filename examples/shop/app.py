"""The shop's routes, and the one call that gives it metrics.

uvicorn --factory examples.shop.app:create_app
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

import otelbridge
from examples.shop import jobs
from examples.shop.agent import Answers
from examples.shop.cache import ProductCache
from examples.shop.model import OverloadedError
from examples.shop.payments import PaymentDeclinedError, charge, refund
from examples.shop.snapshots import SECONDS, Snapshots
from examples.shop.store import OutOfStockError, Store, UnknownProductError
from otelbridge import business

DATABASE = "sqlite+aiosqlite:///shop.db"
EUR_PER_ANSWER = 0.10
CENTS_PER_PLAN = {"basic": 490, "pro": 1990}


class NewOrder(BaseModel):
    """What a customer sends to buy one piece."""

    product_id: int
    email: str
    card: str = "valid"


class Question(BaseModel):
    """What a customer asks."""

    question: str


class NewUser(BaseModel):
    """What somebody sends to register."""

    email: str
    channel: str = "web"


class NewSubscription(BaseModel):
    """What a user sends to subscribe."""

    email: str
    plan: str = "basic"


@dataclass
class Shop:
    """The parts of the shop."""

    store: Store
    products: ProductCache
    answers: Answers
    jobs: jobs.Jobs
    snapshots: Snapshots


def _shop(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


TheShop = Annotated[Shop, Depends(_shop)]
router = APIRouter()


@router.get("/products")
async def list_products(shop: TheShop) -> list[dict[str, str | int]]:
    """List what there is."""
    return [{"id": product.id, "name": product.name, "cents": product.cents} for product in await shop.store.products()]


@router.get("/products/{product_id}")
async def show_product(product_id: int, shop: TheShop) -> dict[str, str | int]:
    """Show one product."""
    product = shop.products.get(product_id)
    if product is None:
        product = await shop.store.product(product_id)
        if product is None:
            raise HTTPException(404, "There is no such product.")
        shop.products.put(product)
    return {"id": product.id, "name": product.name, "text": product.text, "stock": product.stock}


@router.post("/orders", status_code=201)
async def buy(new: NewOrder, shop: TheShop) -> dict[str, str | int]:
    """Buy one piece of a product."""
    checkout = business.journey("checkout")
    try:
        order = await shop.store.place_order(new.product_id, new.email)
    except UnknownProductError:
        raise HTTPException(404, "There is no such product.") from None
    except OutOfStockError:
        checkout.step("order", outcome="abandoned")
        raise HTTPException(409, "This product is sold out.") from None
    checkout.step("order", outcome="completed")
    shop.products.forget(new.product_id)
    try:
        await charge(order, new.card)
    except PaymentDeclinedError:
        await shop.store.set_status(order.id, "declined")
        checkout.step("payment", outcome="failed")
        business.order(order.cents / 100, "EUR", status="failed")
        raise HTTPException(402, "The card was declined.") from None
    await shop.store.set_status(order.id, "completed")
    checkout.step("payment", outcome="completed")
    business.order(order.cents / 100, "EUR", status="completed")
    business.revenue.add(order.cents / 100, currency="EUR", source="orders")
    shop.jobs.put(jobs.send_invoice, shop.store, order.id)
    shop.jobs.put(jobs.send_mail, shop.jobs, new.email)
    return {"id": order.id, "cents": order.cents}


@router.post("/orders/{order_id}/refund")
async def return_order(order_id: int, shop: TheShop) -> dict[str, str]:
    """Give the money back, if that is approved."""
    order = await shop.store.order(order_id)
    if order is None or order.status != "completed":
        raise HTTPException(404, "There is no such order that was paid.")
    if not await shop.answers.approve_refund(order):
        raise HTTPException(403, "The refund was not approved.")
    await refund(order)
    await shop.store.set_status(order.id, "refunded")
    return {"status": "refunded"}


@router.post("/answers")
async def answer(question: Question, shop: TheShop) -> dict[str, str]:
    """Answer a question."""
    try:
        text = "".join([piece async for piece in shop.answers.stream(question.question)])
    except OverloadedError:
        raise HTTPException(503, "The model is busy. Try again later.") from None
    business.revenue.add(EUR_PER_ANSWER, currency="EUR", source="answers")
    return {"answer": text}


@router.post("/answers/stream")
async def stream_answer(question: Question, shop: TheShop) -> StreamingResponse:
    """Answer a question, word by word."""
    business.revenue.add(EUR_PER_ANSWER, currency="EUR", source="answers")
    return StreamingResponse(shop.answers.stream(question.question), media_type="text/plain")


@router.post("/users", status_code=201)
async def register(new: NewUser, shop: TheShop) -> dict[str, int]:
    """Register a user."""
    user = await shop.store.register(new.email)
    business.users.registered(channel=new.channel)
    shop.jobs.put(jobs.send_mail, shop.jobs, new.email)
    return {"id": user.id}


@router.post("/subscriptions", status_code=201)
async def subscribe(new: NewSubscription, shop: TheShop) -> dict[str, int]:
    """Start a subscription."""
    cents = CENTS_PER_PLAN.get(new.plan)
    if cents is None:
        raise HTTPException(422, f"Plans are: {', '.join(CENTS_PER_PLAN)}.")
    subscription = await shop.store.subscribe(new.email, new.plan, cents)
    business.subscriptions.changed("created", plan=new.plan)
    return {"id": subscription.id}


@router.delete("/subscriptions/{subscription_id}")
async def unsubscribe(subscription_id: int, shop: TheShop) -> dict[str, str]:
    """End a subscription."""
    subscription = await shop.store.cancel_subscription(subscription_id)
    if subscription is None:
        raise HTTPException(404, "There is no such subscription.")
    business.subscriptions.changed("cancelled", plan=subscription.plan)
    return {"status": subscription.state}


@router.get("/offers")
async def offers(shop: TheShop) -> StreamingResponse:
    """Show offers as they come; a customer's session lasts as long as the page is open."""

    async def events() -> AsyncGenerator[str, None]:
        with business.session(user_type="customer"):
            for product in await shop.store.products():
                yield f"data: {product.name} {product.cents}\n\n"
                await asyncio.sleep(0.2)

    return StreamingResponse(events(), media_type="text/event-stream")


@router.get("/reports/orders")
async def report(shop: TheShop) -> dict[str, int]:
    """Add up the orders by status, which is slow."""
    return await shop.store.report()


@router.post("/exports", status_code=202)
async def export(shop: TheShop) -> dict[str, str]:
    """Have the catalogue exported in the background, in the old way or the new one."""
    business.feature("export", flag="fast_export", variant="off")
    shop.jobs.put(jobs.export_catalogue, 5.0)
    return {"status": "queued"}


@router.get("/crash")
async def crash() -> None:
    """Do what nobody foresaw."""
    raise RuntimeError("the shop has a bug")


async def _no_connection(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "Too many customers at once. Try again later."}, 503)


def create_app(database_url: str | None = None) -> FastAPI:
    """Make the shop, with metrics.

    Args:
        database_url: SQLAlchemy URL with an async driver. Default: ``SHOP_DATABASE_URL``, else a file of SQLite.

    Returns:
        The application. Prometheus scrapes it at ``/metrics``; where `OTEL_EXPORTER_OTLP_ENDPOINT` is set it
        pushes there too.
    """
    store = Store(database_url or os.environ.get("SHOP_DATABASE_URL", DATABASE))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        snapshots = Snapshots(store, float(os.environ.get("SHOP_SNAPSHOT_SECONDS", SECONDS)))
        shop = Shop(store, ProductCache(), Answers(store), jobs.Jobs(), snapshots)
        app.state.shop = shop
        await store.open()
        shop.jobs.start()
        shop.snapshots.start()
        yield
        await shop.snapshots.stop()
        await shop.jobs.stop()
        shop.answers.close()
        shop.products.close()
        # The last numbers are pushed here, since a server that is ended by a signal runs no atexit functions.
        await asyncio.to_thread(otelbridge.shutdown)
        await store.close()

    app = FastAPI(title="Shop", lifespan=lifespan)
    app.include_router(router)
    app.add_exception_handler(PoolTimeoutError, _no_connection)
    otelbridge.init(service_name="shop", service_version="1.0", app=app, engine=store.engine)
    return app
