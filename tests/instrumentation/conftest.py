"""Components the tests of this directory run against."""

from __future__ import annotations

from tests.components import mariadb, postgresql

__all__ = ["mariadb", "postgresql"]
