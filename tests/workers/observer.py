"""A process that counts nothing and shows what its siblings count, until it is ended."""

from __future__ import annotations

import signal

from tests.workers import service

if __name__ == "__main__":
    service.start()
    signal.pause()
