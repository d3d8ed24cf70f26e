"""Worker processes that do what they are told."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import TYPE_CHECKING, Any

from tests.neighbour.pages import Samples, samples

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def run(pipe: Connection, method: str) -> None:
    """Be a worker until the pipe is closed."""
    from tests.neighbour import service

    # A forked worker has the bridge of its parent.
    bridge = service.start() if method == "spawn" else service.bridge
    while True:
        try:
            order, *arguments = pipe.recv()
        except EOFError:
            return
        if order == "work":
            pipe.send(service.work(*arguments))
        elif order == "level":
            pipe.send(service.level.set(*arguments))
        elif order == "latest":
            pipe.send(service.latest.set(*arguments))
        elif order == "render":
            pipe.send(bridge.render())
        elif order == "end":
            pipe.send(None)
            return


class Worker:
    """A process, and the pipe to it."""

    def __init__(self, method: str) -> None:
        context: Any = multiprocessing.get_context(method)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=run, args=(theirs, method))
        self.process.start()
        theirs.close()
        self.pid: int = self.process.pid

    def tell(self, *order: Any) -> Any:
        """Have something done, and wait for it."""
        self.pipe.send(order)
        assert self.pipe.poll(60), f"{order} was not done in time"
        return self.pipe.recv()

    def page(self) -> Samples:
        """What a scrape of this worker gets."""
        return samples(self.tell("render"))

    def kill(self) -> None:
        """End it as the kernel would."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.join(30)

    def end(self) -> None:
        """Let it end."""
        if self.process.is_alive():
            self.tell("end")
        self.process.join(30)


def program() -> None:
    """The main process: does as the lines on standard input say, and answers with the result of each."""
    import json
    import sys

    from tests.neighbour import service

    method = sys.argv[1]
    before = int(sys.argv[2])
    service.bridge = service.start()
    if before:
        service.work(before)
    team: list[Worker] = []
    for line in sys.stdin:
        order, *arguments = json.loads(line)
        answer: Any = None
        if order == "hire":
            team.append(Worker(method))
            answer = team[-1].pid
        elif order == "kill":
            team[arguments[0]].kill()
        elif order == "end":
            team[arguments[0]].end()
        elif order == "pid":
            answer = os.getpid()
        elif arguments and arguments[0] == "self":
            verbs = {"work": service.work, "render": service.bridge.render, "level": service.level.set}
            answer = verbs[order](*arguments[1:])
        else:
            answer = team[arguments[0]].tell(order, *arguments[1:])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for worker in team:
        worker.end()


if __name__ == "__main__":
    program()
