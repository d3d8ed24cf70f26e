"""A cache of products, and how often it helps."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from otelbridge import database

if TYPE_CHECKING:
    from examples.shop.store import Product


class ProductCache:
    """Keeps products by id until they change."""

    def __init__(self) -> None:
        self._products: dict[int, Product] = {}
        self._metrics = database.cache("products", entries=self._products.__len__, memory=self._memory)

    def get(self, product_id: int) -> Product | None:
        """Look a product up."""
        product = self._products.get(product_id)
        self._metrics.lookup(product is not None)
        return product

    def put(self, product: Product) -> None:
        """Keep a product."""
        self._products[product.id] = product

    def forget(self, product_id: int) -> None:
        """Drop a product that changed."""
        self._products.pop(product_id, None)

    def close(self) -> None:
        """Stop being observed."""
        self._metrics.close()

    def _memory(self) -> int:
        # Collections happen on other threads, so the dictionary is copied before it is walked.
        return sum(sys.getsizeof(product.text) for product in list(self._products.values()))
