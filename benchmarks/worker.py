"""A process for one contender of one figure.

Every contender has its own, so that none pays for another's patches, caches or garbage. It prepares once,
then takes a sample whenever it is told to, which lets the samples of all contenders be taken in turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.model import Effort, UnmeasuredError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.model import Figure

_LIMIT = 180.0
_SHARED = Path("/dev/shm")
# Files that processes share lie in memory, ours and the peers' alike.
_MEMORY = str(_SHARED) if _SHARED.is_dir() else None
_PLACES = frozenset({"PYTHONHOME", "PYTHONPATH"})
_ROOT = Path(__file__).resolve().parent.parent


class WorkerFailedError(Exception):
    """A contender crashed, or hung."""


class Worker:
    """The near end: starts the process and asks it for samples.

    Args:
        figure: Name of the figure.
        contender: Name of the contender.
        effort: How much is measured.
    """

    def __init__(self, figure: str, contender: str, effort: Effort) -> None:
        environment = neutral(os.environ)
        # It ends without cleaning up after itself; what it leaves goes with this folder.
        self._scratch = tempfile.TemporaryDirectory(prefix="benchmark-", dir=_MEMORY, ignore_cleanup_errors=True)
        environment["TMPDIR"] = environment["OTELBRIDGE_RUN_DIRECTORY"] = self._scratch.name
        self._log = Path(self._scratch.name, "log")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker", figure, contender, json.dumps(asdict(effort))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=_ROOT,
                env=environment,
            )

    def ready(self) -> None:
        """Wait until it is prepared.

        Raises:
            UnmeasuredError: There is nothing to measure.
            WorkerFailedError: It crashed or hung.
        """
        self._answer()

    def sample(self) -> float:
        """Take one sample; raises as `ready`."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the answer, or the lack of one, says why
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return float(self._answer()["value"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._scratch.cleanup()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        watchdog = threading.Timer(_LIMIT, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise WorkerFailedError(f"no answer within {_LIMIT:.0f} s, or it died: {self._log.read_text()[-500:]}")
        answer: dict[str, Any] = json.loads(line)
        if "unmeasured" in answer:
            raise UnmeasuredError(answer["unmeasured"])
        if "failed" in answer:
            raise WorkerFailedError(answer["failed"])
        return answer


def neutral(environ: Mapping[str, str]) -> dict[str, str]:
    """Leave out what decides how an SDK or an interpreter works: a benchmark must not depend on its caller's.

    Args:
        environ: The caller's variables. Where Python and its modules are stays.
    """
    decisive = ("OTEL", "PROMETHEUS", "PYTHON")
    return {name: value for name, value in environ.items() if name in _PLACES or not name.startswith(decisive)}


def serve(figure: Figure, contender: str, effort: Effort) -> None:
    """Be the far end: prepare, then one sample a line, until the input ends.

    Args:
        figure: What is measured.
        contender: For whom.
        effort: How much.
    """
    # Libraries may print; the answers go where they cannot reach.
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        try:
            sample = figure.contenders[contender](effort)
            _say(out, {"ready": True})
            for _ in sys.stdin:
                _say(out, {"value": sample()})
        except UnmeasuredError as error:
            _say(out, {"unmeasured": str(error)})
        except Exception:
            _say(out, {"failed": traceback.format_exc().strip()[-1500:]})
    # Nothing a contender started may hold up, or add to, the end.
    os._exit(0)


def _say(out: Any, answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    from benchmarks.figures import figure_named

    serve(figure_named(sys.argv[1]), sys.argv[2], Effort(**json.loads(sys.argv[3])))
