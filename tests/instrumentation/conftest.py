"""Components the tests of this directory run against."""

from __future__ import annotations

from tests.components import postgresql

__all__ = ["postgresql"]
