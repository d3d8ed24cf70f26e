"""Child processes of the demo: started apart from its terminal, ended for sure."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

_SECONDS_TO_END = 10.0
_SECONDS_TO_START = 30.0
_LINES = 15


class ChildEndedError(Exception):
    """A child ended although it should not have; the message has the end of its log."""


class Child:
    """A Python module that runs as a process of its own. Use it as a context manager.

    Args:
        arguments: Module and its arguments, as after ``python -m``.
        environ: Its whole environment.
        log: File that takes what it prints.
    """

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._command = [sys.executable, "-m", *arguments]
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        with self.log.open("wb") as output:
            # In a session of its own, so that a Ctrl-C reaches the demo alone, which then ends things in order.
            self._process = subprocess.Popen(
                self._command, env=self._environ, stdout=output, stderr=output, start_new_session=True
            )
        return self

    def __exit__(self, *_error: object) -> None:
        """End it, if need be by force."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            ChildEndedError: It does not.
        """
        code = None if self._process is None else self._process.poll()
        if code is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
            raise ChildEndedError("\n".join([f"{self._command[2]} ended with exit code {code}:", *lines]))

    def wait_until_ready(self, url: str) -> None:
        """Wait until it answers.

        Args:
            url: What to ask.

        Raises:
            ChildEndedError: It ended, or did not answer in time.
        """
        deadline = time.monotonic() + _SECONDS_TO_START
        while not _answers(url):
            self.check()
            if time.monotonic() > deadline:
                raise ChildEndedError(f"{self._command[2]} did not answer on {url} within {_SECONDS_TO_START:g} s.")
            time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False
