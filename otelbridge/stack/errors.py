"""What can go wrong with real components, each with its cause and its cure."""

from __future__ import annotations

from otelbridge.errors import OtelbridgeError


class StackError(OtelbridgeError):
    """A component could not be found, made, started or stopped.

    Args:
        problem: What is wrong, naming the component.
        cure: What the reader can do about it, as an instruction.
    """

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"{problem}. {cure}")
        self.problem = problem
        self.cure = cure


class ToolMissingError(StackError):
    """None of the ways to a tool led to one.

    Args:
        problem: The tool, and what each way said.
        cure: The ways out.
    """


class DownloadRefusedError(StackError):
    """A release archive is not what it should be, so nothing of it is used.

    Args:
        problem: The archive, and what is wrong with it.
        cure: What the reader can do about it.
    """


class BuildFailedError(StackError):
    """The Go toolchain is there, but a build with it failed.

    Args:
        problem: The step that failed, with the end of its log.
        cure: Where the whole log is.
    """


class ComponentFailedError(StackError):
    """A component refused its configuration, did not become ready, or died.

    Args:
        problem: The component and what happened, with the end of its log.
        cure: Where to look.
    """
