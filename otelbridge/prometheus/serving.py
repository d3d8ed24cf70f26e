"""What is served where, and to whom: the same for the own server, for ASGI and for WSGI."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from otelbridge.asgi import withdraw
from otelbridge.errors import ConfigError
from otelbridge.prometheus.access import Access, Verdict
from otelbridge.prometheus.flight import BusyError, rescue, then
from otelbridge.prometheus.http1 import Request, Response, failure, join_fields, message, too_long
from otelbridge.prometheus.readiness import Readiness
from otelbridge.prometheus.renderings import Renderings, accepts_gzip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping

    from otelbridge.prometheus.readiness import Report
    from otelbridge.prometheus.renderings import Rendered, Rendering

    Answer = Response | Future[Response]
    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    StartResponse = Callable[[str, list[tuple[str, str]]], object]

Format = TypeVar("Format")

_METHODS = ("GET", "HEAD")


@dataclass(frozen=True, kw_only=True)
class SiteOptions:
    """What is served where."""

    path: str = "/metrics"
    """Path of the metrics."""

    live_path: str | None = "/healthz"
    """Path that answers 200 as long as the process answers at all; None leaves it out."""

    ready_path: str | None = "/-/ready"
    """Path that tells whether the components are healthy; None leaves it out. Their names and states are
    shown to those who may read the metrics."""

    keep_seconds: float = 0.25
    """For how long a rendering is shared with scrapes that come after it. 0: only with those that come
    while it is made."""

    answer_seconds: float = 60.0
    """Seconds for which ASGI and WSGI wait for an answer; then it is 503. The own server has this in its
    `Limits`."""


class MetricsSite(Generic[Format]):
    """Answers requests for metrics and for health. Answering never blocks and never raises.

    Args:
        render: Renders the metrics in a format. Called in a thread of its own, once at a time.
        negotiate: Finds the format for the header ``Accept`` (empty where there is none); what it gives
            must be hashable, and equal for scrapes that are to share a rendering.
        access: Who may read the metrics.
        readiness: The states of the components.
        headers: Gives further fields for every answer.
        options: What is served where.
    """

    def __init__(
        self,
        render: Callable[[Format], Rendered],
        negotiate: Callable[[str], Format],
        access: Access,
        *,
        readiness: Readiness | None = None,
        headers: Callable[[], Mapping[str, str]] = dict[str, str],
        options: SiteOptions | None = None,
    ) -> None:
        self.options = options or SiteOptions()
        """What is served where."""
        self.access = access
        """Who may read the metrics."""
        self._renderings = Renderings(render, self.options.keep_seconds)
        self._negotiate = negotiate
        self._readiness = readiness or Readiness()
        self._headers = headers
        routes: dict[str | None, Callable[[Request], Answer]] = {
            self.options.live_path: _live,
            self.options.ready_path: self._ready,
            self.options.path: self._metrics,
        }
        self._routes = {path: route for path, route in routes.items() if path is not None}

    def answer(self, request: Request) -> Answer:
        """Answer a request.

        Args:
            request: Its head.

        Returns:
            The answer, or a future of it. Also for HEAD it has its body, which is for the sender to leave out.
        """
        route = self._routes.get(request.path)
        if route is None:
            answer: Answer = message(HTTPStatus.NOT_FOUND, f"Metrics are at {self.options.path}")
        elif request.method not in _METHODS:
            allow = ("Allow", ", ".join(_METHODS))
            answer = message(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are answered here", allow)
        else:
            answer = self._attempt(route, request)
        return rescue(then(answer, self._with_headers), failure)

    def close(self, timeout: float = 1.0) -> None:
        """Wait until nothing is being made for an answer, for this many seconds at most for each kind."""
        self._renderings.close(timeout)
        self._readiness.close(timeout)
        self.access.close(timeout)

    def _attempt(self, route: Callable[[Request], Answer], request: Request) -> Answer:
        try:
            return route(request)
        except BusyError:
            return _busy()
        except Exception as error:
            return failure(error)

    def _with_headers(self, response: Response) -> Response:
        extra = tuple(self._headers().items())
        return Response(response.status, response.body, response.headers + extra) if extra else response

    def _metrics(self, request: Request) -> Answer:
        return then(self._verdict(request), lambda verdict: self._if_granted(verdict, request))

    def _verdict(self, request: Request) -> Verdict | Future[Verdict]:
        return self.access.check(request.headers.get("authorization"), request.names)

    def _if_granted(self, verdict: Verdict, request: Request) -> Answer:
        if verdict is not Verdict.GRANTED:
            return self._refusal(verdict)
        wanted = self._negotiate(request.headers.get("accept", ""))
        gzipped = accepts_gzip(request.headers.get("accept-encoding", ""))
        try:
            return then(self._renderings.get(wanted, gzipped=gzipped), _scraped)
        except BusyError:
            return _busy()

    def _refusal(self, verdict: Verdict) -> Response:
        if verdict is Verdict.UNKNOWN:
            challenges = (("WWW-Authenticate", challenge) for challenge in self.access.challenges)
            return message(HTTPStatus.UNAUTHORIZED, "Credentials are needed here", *challenges)
        if verdict is Verdict.FORBIDDEN:
            return message(HTTPStatus.FORBIDDEN, "This is not for the bearer of this certificate")
        return _busy()

    def _ready(self, request: Request) -> Answer:
        def report(verdict: Verdict) -> Answer:
            details = verdict is Verdict.GRANTED
            try:
                return then(self._readiness.report(), lambda found: _ready(found, details=details))
            except BusyError:
                return _busy()

        return then(self._verdict(request), report)


def _live(request: Request) -> Response:
    del request
    return message(HTTPStatus.OK, "OK")


def _ready(report: Report, *, details: bool) -> Response:
    return report.response(details=details)


def _scraped(rendering: Rendering | None) -> Response:
    if rendering is None:
        return message(HTTPStatus.INTERNAL_SERVER_ERROR, "Rendering the metrics failed; see the log")
    headers = [
        ("Content-Type", rendering.content_type),
        ("Cache-Control", "no-store"),
        ("Vary", "Accept, Accept-Encoding"),
    ]
    if rendering.gzipped:
        headers.append(("Content-Encoding", "gzip"))
    return Response(HTTPStatus.OK, rendering.body, tuple(headers))


def _busy() -> Response:
    return message(HTTPStatus.SERVICE_UNAVAILABLE, "Too many wait already", ("Retry-After", "1"))


class AsgiEndpoint:
    """Serves a site as an ASGI application, on its own or on a path of another application.

    Args:
        site: What is served.
        path: The path of the site that is meant, whatever the path of the request, for where a framework
            has chosen by path already. None: the request's path decides.

    Raises:
        ConfigError: The access rules ask for client certificates, which ASGI servers do not pass on.
    """

    def __init__(self, site: MetricsSite[Any], *, path: str | None = None) -> None:
        _check_no_certificate(site)
        self._site = site
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; see the ASGI specification, "HTTP" and "Lifespan"."""
        withdraw(scope)  # who scrapes is no client of the application
        if scope["type"] == "lifespan":
            await _live_and_die(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await self._answer(scope, send)

    async def _answer(self, scope: Scope, send: Send) -> None:
        response = await self._response(self._request(scope))
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in _sized(response)]
        await send({"type": "http.response.start", "status": response.status.value, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})

    async def _response(self, request: Request) -> Response:
        answer = self._site.answer(request)
        if isinstance(answer, Response):
            return answer
        import asyncio  # whoever awaits this has it; others do without

        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), self._site.options.answer_seconds)
        except asyncio.TimeoutError:
            return too_long()

    def _request(self, scope: Scope) -> Request:
        pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
        headers = join_fields((name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs)
        root: str = scope.get("root_path", "")
        path: str = scope["path"]
        # Where an application is mounted, servers give the path with the mount point in front or without it.
        inner = path[len(root) :] if root and path.startswith(f"{root}/") else path
        return Request(scope["method"], self._path or inner, headers=headers)


class WsgiEndpoint:
    """Serves a site as a WSGI application, on its own or on a path of another application.

    Args:
        site: What is served.
        path: As for `AsgiEndpoint`.

    Raises:
        ConfigError: The access rules ask for client certificates, which WSGI servers do not pass on.
    """

    def __init__(self, site: MetricsSite[Any], *, path: str | None = None) -> None:
        _check_no_certificate(site)
        self._site = site
        self._path = path

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; see PEP 3333."""
        method: str = environ["REQUEST_METHOD"]
        headers = {
            name[len("HTTP_") :].replace("_", "-").lower(): str(value)
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        answer = self._site.answer(Request(method, self._path or environ.get("PATH_INFO", ""), headers=headers))
        if isinstance(answer, Future):
            try:
                answer = answer.result(self._site.options.answer_seconds)
            except FutureTimeoutError:
                answer = too_long()
        start_response(f"{answer.status.value} {answer.status.phrase}", _sized(answer))
        return [b"" if method == "HEAD" else answer.body]


def _check_no_certificate(site: MetricsSite[Any]) -> None:
    if site.access.needs_certificate:
        raise ConfigError(
            "client_names is set, but an application is not told its clients' certificates",
            "Serve the metrics on a port of their own with TLS, or protect them with a token or users",
        )


def _sized(response: Response) -> list[tuple[str, str]]:
    return [*response.headers, ("Content-Length", str(len(response.body)))]


async def _live_and_die(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
