"""Metrics that are not recorded here but read from elsewhere, and yet shown, merged and pushed like our own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from otelbridge.metrics.identity import details_of, join, key_of

if TYPE_CHECKING:
    from otelbridge.catalogue.model import MergeRule
    from otelbridge.cells.shelf import Totals
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.readers import Storage
    from otelbridge.metrics.registry import StreamRegistry

ForeignType = Literal["counter", "gauge", "histogram", "info", "stateset", "summary", "unknown"]

_PREFIX = b"foreign:"


@dataclass(frozen=True)
class Foreign:
    """What a foreign metric is. Those of one key are one stream, see `otelbridge.metrics.identity`."""

    name: str
    """Its name where it comes from, without what its type adds (``_total``, ``_info``)."""

    type: ForeignType
    """Its type, as OpenMetrics names it."""

    help: str
    """Its description."""

    unit: str
    """Its unit in words, for instance ``seconds``; empty where it has none."""

    rule: MergeRule
    """How the values of several processes become one."""

    bounds: tuple[float, ...] = ()
    """Upper bounds of the buckets of a histogram, ascending, without infinity."""

    @property
    def key(self) -> tuple[object, ...]:
        """What makes metrics one, here and in other processes: all but the description."""
        return (self.name, self.type, self.unit, self.rule, self.bounds)

    def encode(self) -> bytes:
        """Write it as the other processes of a group know it."""
        said = asdict(self)
        details = {"help": said.pop("help"), "bounds": self.bounds}
        return join(_PREFIX + json.dumps(said, sort_keys=True).encode(), details)

    @classmethod
    def decode(cls, code: bytes) -> Foreign:
        """Read what `encode` wrote.

        Raises:
            ValueError: The bytes are something else.
        """
        try:
            found: dict[str, Any] = json.loads(key_of(code).removeprefix(_PREFIX)) | details_of(code)
            bounds = tuple(map(float, found.pop("bounds")))
            return cls(**found, bounds=bounds)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{code!r:.100} is no foreign metric") from error


def is_foreign(identity: bytes) -> bool:
    """Tell whether a stream of another process is a foreign one, as `Foreign.encode` writes it."""
    return identity.startswith(_PREFIX)


class Source(Protocol):
    """Where foreign metrics come from."""

    def join(self, streams: StreamRegistry, processes: Processes | None, limit: int) -> None:
        """Learn where the streams are kept; called once."""
        ...

    @property
    def present(self) -> bool:
        """Whether there is anything to be read."""
        ...

    def refresh(self) -> None:
        """Read what there is now, and publish it to the other processes. Does not raise, and takes bounded time."""
        ...

    def receive(self, totals: Totals | None) -> None:
        """Learn of streams that other processes have."""
        ...

    def wire(self, storage: Storage) -> None:
        """Let a reader read every stream there is now."""
        ...

    def before_fork(self) -> None:
        """Note what a forked child must not count a second time, and read nothing until the fork is over."""
        ...

    def after_fork_in_parent(self) -> None:
        """Forget what `before_fork` has noted, and go on."""
        ...

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        ...
