"""The service for WSGI servers."""

from __future__ import annotations

import os
from typing import Any

from tests.workers import service

service.start()


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = service.answer(environ["PATH_INFO"])
    headers = [("Content-Length", str(len(body))), ("X-Worker", str(os.getpid())), ("Content-Type", "text/plain")]
    start_response("200 OK", headers)
    return [body]


application = wsgi  # where uWSGI looks for it
