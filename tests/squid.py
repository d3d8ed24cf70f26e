"""A real HTTP proxy for tests: Squid."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.components import free_port, missing, running_server
from tests.leftovers import disk_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "collector.example"
"""A name of this machine that the proxy alone can resolve."""
OTHER_HOST = "other.example"
"""Another one."""
USER, PASSWORD = "ann", "pr0xy-p@ss"
"""Who may use the port that asks."""

_HELPER = Path("/usr/lib/squid/basic_ncsa_auth")
_START_SECONDS = 60.0
_CONFIGURATION = """
http_port 127.0.0.1:{open} name=open
http_port 127.0.0.1:{asking} name=asking
auth_param basic program {helper} {place}/users
auth_param basic children 1 startup=1 idle=1
acl to_open myportname open
acl known proxy_auth REQUIRED
acl forbidden dstdomain forbidden.example
http_access deny forbidden
http_access allow to_open
http_access allow known
http_access deny all
logformat brief %>Hs %rm %ru
access_log stdio:{place}/access.log brief
cache_log {place}/cache.log
cache deny all
hosts_file {place}/hosts
visible_hostname localhost
pid_filename none
shutdown_lifetime 0 seconds
connect_timeout 5 seconds
"""


@dataclass(frozen=True)
class Squid:
    """A running Squid."""

    open: int
    """The port that everybody may use."""

    asking: int
    """The port that asks for a user."""

    place: Path
    """Where its files are."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.open}"

    def seen(self) -> list[str]:
        """The requests it has answered, as ``200 POST http://...``; a tunnel once it is closed."""
        log = self.place / "access.log"
        return log.read_text().splitlines() if log.exists() else []

    def seen_since(self, before: int, count: int = 1) -> list[str]:
        """What it has answered since there were so many, as soon as there is so much of it."""
        deadline = time.monotonic() + _START_SECONDS
        while len(found := self.seen()[before:]) < count:
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return found


@contextmanager
def running_squid() -> Iterator[Squid]:
    """A Squid of its own, stopped at the end."""
    program, openssl = shutil.which("squid", path=f"{os.environ['PATH']}:/usr/sbin"), shutil.which("openssl")
    if program is None or not _HELPER.exists():
        missing("Squid", f"squid is not on PATH, or {_HELPER} is not there")
    if openssl is None:
        missing("Squid", "openssl, which makes its file of users, is not on PATH")
    place = disk_directory() / "squid"
    place.mkdir()
    place.chmod(0o777)  # started by root it becomes another user
    hashed = subprocess.run([openssl, "passwd", "-5", PASSWORD], check=True, capture_output=True, text=True).stdout
    (place / "users").write_text(f"{USER}:{hashed}")
    (place / "hosts").write_text(f"127.0.0.1 localhost {HOST} {OTHER_HOST}\n")
    squid = Squid(free_port(), free_port(), place)
    (place / "squid.conf").write_text(
        _CONFIGURATION.format(open=squid.open, asking=squid.asking, place=place, helper=_HELPER)
    )
    command = [program, "-N", "-d", "1", "-f", str(place / "squid.conf")]
    with running_server(command, place, lambda: _answers(squid)):
        yield squid


def _answers(squid: Squid) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", squid.asking)):
        return True
    return False
