"""Resource attributes that have a setting of their own.

``service.name`` in a list of attributes and ``service_name=`` mean the same thing, and a higher source must
win whichever way it says it. So each source moves these attributes into their settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from otelbridge.config.options import ResourceValue

SETTINGS = {
    "service.name": "service_name",
    "service.version": "service_version",
    "deployment.environment.name": "environment",
}
"""The setting of each such attribute."""


def lift(where: str, attributes: Mapping[str, ResourceValue] | None, said: Mapping[str, str | None]) -> dict[str, Any]:
    """Move attributes with a setting of their own into it.

    Args:
        where: What holds the attributes, as the user wrote it.
        attributes: Resource attributes of one source.
        said: The settings ``service_name``, ``service_version`` and ``environment`` of the same source,
            which win over the attributes.

    Returns:
        The three settings and ``resource_attributes``, as keyword arguments of `Settings`.

    Raises:
        ConfigError: Such an attribute is no text.
    """
    rest = dict(attributes or {})
    found: dict[str, Any] = {}
    for key, setting in SETTINGS.items():
        value = rest.pop(key, None)
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{key} in {where} is {value!r}, which is no text", "Give a text")
        found[setting] = said.get(setting) or value or None
    return {**found, "resource_attributes": rest or None}
