"""What tests of outgoing requests have in common: a server that fails in every way, and each client, asked alike."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import httpx2
import requests
import urllib3

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    Call = Callable[..., Awaitable[int]]

_CLOSE = "Connection: close\r\n"
_HEAD = f"HTTP/1.1 200 OK\r\n{_CLOSE}Content-Length: "
ANSWERS = {
    "answer": f"{_HEAD}6\r\n\r\nanswer",
    "empty": f"HTTP/1.1 204 No Content\r\n{_CLOSE}\r\n",
    "missing": f"HTTP/1.1 404 Not Found\r\n{_CLOSE}Content-Length: 0\r\n\r\n",
    "moved": f"HTTP/1.1 302 Found\r\n{_CLOSE}Location: /answer\r\nContent-Length: 0\r\n\r\n",
    "busy": f"HTTP/1.1 503 Service Unavailable\r\n{_CLOSE}Content-Length: 0\r\n\r\n",
    "broken": f"{_HEAD}100\r\n\r\npart",
    "broken-chunks": f"HTTP/1.1 200 OK\r\n{_CLOSE}Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
    "closed": "",
    "garbage": "SSH-2.0-server\r\n\r\n",
    "stalled": f"{_HEAD}100\r\n\r\npart",
    "silent": "",
    "upgraded": "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: shop\r\n\r\n",
}
_WAITING = ("stalled", "silent", "upgraded")


class Server:
    """Answers by the first part of the path; see `ANSWERS`. A connection serves one request."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """Heads of the requests, in order."""
        self.asked = threading.Event()
        """Set when a request has come that is not answered to the end."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
            head += more
        if not head:
            connection.close()
            return
        self.requests.append(head.decode("latin-1"))
        what = head.split()[1].decode().rpartition("://")[2].split("/")[-1]
        with suppress(OSError):
            connection.sendall(ANSWERS[what].encode())
        if what in _WAITING:
            self.asked.set()
        else:
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()


@contextmanager
def nobody_accepts() -> Generator[str]:
    """The URL of a port where connections are neither accepted nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        try:
            yield f"http://{address[0]}:{address[1]}"
        finally:
            for each in waiting:
                each.close()


def refused() -> str:
    """The URL of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def _x_timeout(library: Any, connect: float, read: float) -> Any:
    return library.Timeout(60, connect=connect, read=read)


def _x_sync(library: Any) -> Call:
    async def call(url: str, method: str = "GET", connect: float = 60, read: float = 60) -> int:
        with library.Client(timeout=_x_timeout(library, connect, read), follow_redirects=True) as client:
            return client.request(method, url).status_code

    return call


def _x_async(library: Any) -> Call:
    async def call(url: str, method: str = "GET", connect: float = 60, read: float = 60) -> int:
        async with library.AsyncClient(timeout=_x_timeout(library, connect, read), follow_redirects=True) as client:
            return (await client.request(method, url)).status_code

    return call


async def _requests(url: str, method: str = "GET", connect: float = 60, read: float = 60) -> int:
    with requests.Session() as session:
        return session.request(method, url, timeout=(connect, read)).status_code


async def _urllib3(url: str, method: str = "GET", connect: float = 60, read: float = 60) -> int:
    timeout = urllib3.Timeout(connect=connect, read=read)
    with urllib3.PoolManager(timeout=timeout, retries=urllib3.Retry(2, connect=0, read=0, other=0)) as pool:
        return pool.request(method, url).status


async def _aiohttp(url: str, method: str = "GET", connect: float = 60, read: float = 60) -> int:
    timeout = aiohttp.ClientTimeout(60, sock_connect=connect, sock_read=read)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.request(method, url) as response:
        await response.read()
        return response.status


CALLS: dict[str, tuple[str, Call]] = {
    "httpx": ("httpx", _x_sync(httpx)),
    "httpx async": ("httpx", _x_async(httpx)),
    "httpx2": ("httpx2", _x_sync(httpx2)),
    "httpx2 async": ("httpx2", _x_async(httpx2)),
    "requests": ("requests", _requests),
    "urllib3": ("urllib3", _urllib3),
    "aiohttp": ("aiohttp-client", _aiohttp),
}
"""Each client: the name of its instrumentation, and what makes one request and reads the answer."""

NAMES = ("httpx", "httpx2", "requests", "urllib3", "aiohttp-client")
