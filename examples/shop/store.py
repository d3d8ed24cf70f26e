"""Products, orders, users and subscriptions in a database. Nothing here mentions metrics: the engine is observed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sqlalchemy import ForeignKey, func, or_, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

CATALOGUE = (
    ("kettle", "A steel kettle that boils a litre of water in three minutes and stays quiet.", 3490, 500),
    ("teapot", "A glass teapot with a strainer, good for green tea and for herbs.", 2250, 500),
    ("lamp", "A desk lamp with warm light, a long arm and a switch on the cable.", 4990, 500),
    ("chair", "A wooden chair with a high back, made of oak, that carries a lot.", 12900, 500),
    ("desk", "An oak desk with two drawers and room for a lamp and a computer.", 34900, 500),
    ("clock", "A quiet wall clock with a steel frame that needs one battery a year.", 1990, 0),
)
"""Name, text, price in cents and stock. The clock is sold out."""


class UnknownProductError(LookupError):
    """There is no such product."""


class OutOfStockError(Exception):
    """There is not enough of the product left."""


class Base(DeclarativeBase):
    """Base of the tables."""


class Product(Base):
    """Something to buy."""

    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    text: Mapped[str]
    cents: Mapped[int]
    stock: Mapped[int]


class User(Base):
    """Somebody who registered."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    seen: Mapped[datetime]


class Order(Base):
    """One product, bought."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    email: Mapped[str]
    cents: Mapped[int]
    status: Mapped[str] = mapped_column(default="pending")


class Subscription(Base):
    """A user's plan."""

    __tablename__ = "subscriptions"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    plan: Mapped[str]
    cents: Mapped[int]
    state: Mapped[str] = mapped_column(default="active")


@dataclass(frozen=True)
class Snapshot:
    """How many there are of what, at one moment."""

    subscriptions: list[tuple[str, str, int, int]]
    """Plan, state, number and monthly cents."""

    active_users: int
    """Users seen within a day."""


class Store:
    """Everything that is asked of the database.

    Args:
        url: SQLAlchemy URL with an async driver.
    """

    def __init__(self, url: str) -> None:
        # A small pool that gives up soon: under a burst of reports it is the first thing to run out.
        self.engine = create_async_engine(url, pool_size=4, max_overflow=0, pool_timeout=0.5)
        self._session = async_sessionmaker(self.engine, expire_on_commit=False)

    async def open(self) -> None:
        """Create the tables, and fill the catalogue where it is empty."""
        async with self.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with self._session.begin() as session:
            if await session.scalar(select(func.count()).select_from(Product)) == 0:
                session.add_all(Product(name=n, text=t, cents=c, stock=s) for n, t, c, s in CATALOGUE)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    async def product(self, product_id: int) -> Product | None:
        """Read one product."""
        async with self._session.begin() as session:
            return await session.get(Product, product_id)

    async def products(self) -> list[Product]:
        """Read the whole catalogue."""
        async with self._session.begin() as session:
            return list(await session.scalars(select(Product).order_by(Product.id)))

    async def search(self, words: list[str]) -> list[Product]:
        """Find products that have one of the words in their name."""
        async with self._session.begin() as session:
            query = select(Product).where(or_(*(Product.name == word for word in words))).limit(3)
            return list(await session.scalars(query))

    async def order(self, order_id: int) -> Order | None:
        """Read one order."""
        async with self._session.begin() as session:
            return await session.get(Order, order_id)

    async def place_order(self, product_id: int, email: str) -> Order:
        """Take one piece from the stock and write a pending order, both or neither."""
        async with self._session.begin() as session:
            order = Order(product_id=product_id, email=email, cents=0)
            session.add(order)
            product = await session.get(Product, product_id, with_for_update=True)
            if product is None:
                raise UnknownProductError(product_id)
            if product.stock < 1:
                raise OutOfStockError(product.name)
            product.stock -= 1
            order.cents = product.cents
        return order

    async def set_status(self, order_id: int, status: str) -> None:
        """Say what became of an order."""
        async with self._session.begin() as session:
            order = await session.get_one(Order, order_id)
            order.status = status

    async def register(self, email: str) -> User:
        """Add a user."""
        async with self._session.begin() as session:
            user = User(email=email, seen=datetime.now(timezone.utc).replace(tzinfo=None))
            session.add(user)
        return user

    async def subscribe(self, email: str, plan: str, cents: int) -> Subscription:
        """Start a subscription."""
        async with self._session.begin() as session:
            subscription = Subscription(email=email, plan=plan, cents=cents)
            session.add(subscription)
        return subscription

    async def cancel_subscription(self, subscription_id: int) -> Subscription | None:
        """End a subscription."""
        async with self._session.begin() as session:
            subscription = await session.get(Subscription, subscription_id)
            if subscription is not None:
                subscription.state = "cancelled"
        return subscription

    async def report(self) -> dict[str, int]:
        """Add up the orders by status, slowly: the connection is held while the report is made."""
        async with self._session.begin() as session:
            rows = await session.execute(select(Order.status, func.sum(Order.cents)).group_by(Order.status))
            await asyncio.sleep(0.4)
            return {status: int(cents) for status, cents in rows}

    async def snapshot(self) -> Snapshot:
        """Count subscriptions and the users of the last day."""
        groups = select(
            Subscription.plan, Subscription.state, func.count(), func.coalesce(func.sum(Subscription.cents), 0)
        ).group_by(Subscription.plan, Subscription.state)
        since = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(days=1)
        async with self._session.begin() as session:
            subscriptions = [
                (plan, state, number, cents) for plan, state, number, cents in await session.execute(groups)
            ]
            active = await session.scalar(select(func.count()).select_from(User).where(User.seen > since))
        return Snapshot(subscriptions, active or 0)
