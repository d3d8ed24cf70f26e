"""HTTP: requests served and requests made, in the stable HTTP conventions.

What is declared here is the allow-list: nothing a client chooses freely (its Host header, its path) is among the
attributes, so no client can create series.
"""

from __future__ import annotations

from otelbridge.catalogue.attributes import ERROR_TYPE
from otelbridge.catalogue.buckets import HTTPD, LONG, SIZE
from otelbridge.catalogue.model import Attribute, Domain, Kind, Metric

METHOD = Attribute(
    "http.request.method",
    "Method of the request; one that the conventions do not know, or the application does not serve, is `_OTHER`.",
    values=("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY", "_OTHER"),
    example="POST",
)
ROUTE = Attribute(
    "http.route",
    "Template of the route that answered; absent where none matched.",
    example="/orders/{order_id}",
)
STATUS_CODE = Attribute("http.response.status_code", "Status code of the response.", type="int", example=200)
SCHEME = Attribute("url.scheme", "Scheme of the request.", values=("http", "https", "ws", "wss"), example="https")
PROTOCOL_VERSION = Attribute(
    "network.protocol.version",
    "Version of HTTP.",
    values=("0.9", "1.0", "1.1", "2", "3"),
    example="1.1",
)
SERVER_ADDRESS = Attribute("server.address", "Host the request went to.", example="api.example.com")
SERVER_PORT = Attribute("server.port", "Port the request went to.", type="int", example=443)

CLOSE_CODE = Attribute(
    "websocket.close.code",
    "Code the WebSocket was closed with: any that the application chose, of the client's those that RFC 6455 and its "
    "registry name, else `_OTHER`; absent where it was not closed by a message.",
    example="1000",
)
IO_DIRECTION = Attribute(
    "network.io.direction",
    "Whether the message was sent or received by the application.",
    values=("transmit", "receive"),
    example="receive",
)

_SERVER = (METHOD, ROUTE, STATUS_CODE, SCHEME, PROTOCOL_VERSION, ERROR_TYPE)

SERVER_REQUEST_DURATION = Metric(
    "H1",
    "http.server.request.duration",
    Kind.HISTOGRAM,
    "s",
    "Duration of HTTP server requests.",
    _SERVER,
    HTTPD,
    convention="semconv",
    answers=(
        "000-M8",
        "002-M1",
        "002-M2",
        "002-M6",
        "003-M8",
        "003-M9",
        "003-M22",
        "003-M33",
        "003-M38",
        "004-M5",
        "004-M8",
        "004-M13",
        "004-M15",
        "004-M24",
    ),
)
SERVER_ACTIVE_REQUESTS = Metric(
    "H2",
    "http.server.active_requests",
    Kind.UP_DOWN_COUNTER,
    "{request}",
    "Number of active HTTP server requests.",
    (METHOD, SCHEME),
    convention="semconv",
    answers=("002-M3", "003-M8"),
    merge="livesum",
)
SERVER_REQUEST_BODY_SIZE = Metric(
    "H3",
    "http.server.request.body.size",
    Kind.HISTOGRAM,
    "By",
    "Size of HTTP server request bodies.",
    _SERVER,
    SIZE,
    convention="semconv",
    answers=("002-M4", "003-M8"),
)
SERVER_RESPONSE_BODY_SIZE = Metric(
    "H4",
    "http.server.response.body.size",
    Kind.HISTOGRAM,
    "By",
    "Size of HTTP server response bodies.",
    _SERVER,
    SIZE,
    convention="semconv",
    answers=("002-M5", "003-M8"),
)
CLIENT_REQUEST_DURATION = Metric(
    "H5",
    "http.client.request.duration",
    Kind.HISTOGRAM,
    "s",
    "Duration of HTTP client requests.",
    (METHOD, SERVER_ADDRESS, SERVER_PORT, STATUS_CODE, ERROR_TYPE),
    HTTPD,
    convention="semconv",
)

WEBSOCKET_ACTIVE_CONNECTIONS = Metric(
    "H6",
    "websocket.server.active_connections",
    Kind.UP_DOWN_COUNTER,
    "{connection}",
    "Number of WebSockets that are open.",
    (ROUTE, SCHEME),
    merge="livesum",
)
WEBSOCKET_CONNECTION_DURATION = Metric(
    "H7",
    "websocket.server.connection.duration",
    Kind.HISTOGRAM,
    "s",
    "Duration of WebSockets, from the handshake to the end; of refused ones, too.",
    (ROUTE, SCHEME, PROTOCOL_VERSION, STATUS_CODE, CLOSE_CODE, ERROR_TYPE),
    LONG,
)
WEBSOCKET_MESSAGES = Metric(
    "H8",
    "websocket.server.messages",
    Kind.COUNTER,
    "{message}",
    "Number of messages of WebSockets.",
    (ROUTE, IO_DIRECTION),
)

DOMAIN = Domain(
    "http",
    "HTTP requests that are served and made, and WebSockets that are served.",
    (
        SERVER_REQUEST_DURATION,
        SERVER_ACTIVE_REQUESTS,
        SERVER_REQUEST_BODY_SIZE,
        SERVER_RESPONSE_BODY_SIZE,
        CLIENT_REQUEST_DURATION,
        WEBSOCKET_ACTIVE_CONNECTIONS,
        WEBSOCKET_CONNECTION_DURATION,
        WEBSOCKET_MESSAGES,
    ),
)
