"""Whose totals lie in a group's directory: written by its first process, read by whoever delivers them after its end.

The file is for this user alone and holds what every push holds: the resource. Nothing of the destinations is in it, so
no address and no credential.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from opentelemetry.sdk.resources import Resource

from otelbridge.cells.names import RESOURCE
from otelbridge.cells.private import establish, opened
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from pathlib import Path

    from otelbridge.cells.private import Directory, Entry

_FORM: Final = 1
_MAX_BYTES: Final = 1 << 20
_SCALARS: Final = (str, bool, int, float)


class Announcement(NamedTuple):
    """Whose totals these are."""

    service: str
    """The name by which the processes of the group found each other."""

    resource: Resource
    """The resource they pushed under."""


def announce(directory: Directory | Path, service: str, resource: Resource) -> None:
    """Write down whose totals lie in a directory, unless another process has done so.

    Never raises: without it, the next start does not deliver what is left here.

    Args:
        directory: The group's directory, in which this process is.
        service: The name by which processes find each other.
        resource: The resource they push under.
    """
    file = opened(directory) / RESOURCE
    said = {
        "form": _FORM,
        "service": service,
        "attributes": dict(resource.attributes),
        "schema_url": resource.schema_url,
    }
    try:
        establish(file, json.dumps(said).encode())
    except (OSError, TypeError, ValueError) as error:
        warn_once(
            ("otlp", "announce", type(error).__name__),
            "Should all processes of this service be killed, the next start will not deliver what they had counted: "
            "%s cannot be written (%s).",
            file,
            error,
        )


def read_announcement(directory: Directory | Path) -> Announcement | None:
    """Read whose totals lie in a directory.

    Args:
        directory: The directory of a group.

    Returns:
        What is written there; None where nothing is, or nothing that this version understands, which is reported.
    """
    file = opened(directory) / RESOURCE
    try:
        return _parsed(_content(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        warn_once(
            ("otlp", "announcement", str(file)),
            "What the processes of %s had counted is not delivered, since %s cannot be used: %s",
            file.directory.path.name,
            file,
            error,
        )
        return None


def _content(file: Entry) -> bytes:
    content = file.open(os.O_RDONLY | os.O_NONBLOCK).read(0, _MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES} bytes")
    return content


def _parsed(content: bytes) -> Announcement:
    said: Any = json.loads(content)
    if not isinstance(said, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  # the content is wrong, not the call
    fields = cast("dict[str, Any]", said)
    if fields.get("form") != _FORM:
        raise ValueError(f"it has the form {fields.get('form')!r:.20}, and this version knows {_FORM}")
    service, attributes, schema_url = (fields.get(key) for key in ("service", "attributes", "schema_url"))
    if not (isinstance(service, str) and isinstance(attributes, dict) and isinstance(schema_url, str)):
        raise ValueError("a field is missing or of another type")  # noqa: TRY004  # as above
    checked = {key: _value(key, value) for key, value in cast("dict[str, Any]", attributes).items()}
    return Announcement(service, Resource(checked, schema_url))


def _value(key: str, value: Any) -> Any:
    values = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not all(isinstance(each, _SCALARS) for each in values):
        raise ValueError(f"the attribute {key!r:.100} is no text, number or sequence of them")
    return tuple(values) if isinstance(value, list) else value
