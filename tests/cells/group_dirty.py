"""An application for gunicorn's "dirty" workers: it reports as soon as it is loaded."""

from __future__ import annotations

from gunicorn.dirty.app import DirtyApp

from tests.cells import group_app


class Reporting(DirtyApp):
    def init(self) -> None:
        group_app.report()
