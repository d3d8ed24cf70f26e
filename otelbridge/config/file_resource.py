"""The section ``resource`` of the configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from otelbridge.config import checks, pairs
from otelbridge.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.configuration.models import AttributeNameValue, ExperimentalResourceDetector, Resource

    from otelbridge.config.options import ResourceValue

_DETECTION = "resource.detection/development"

# The standard's host detector brings host.* and os.*; its service detector is always on in the SDK.
_STANDARD_DETECTORS: Mapping[str, tuple[str, ...]] = {
    "container": ("container",),
    "host": ("host", "os"),
    "process": ("process",),
    "service": (),
}


def read_resource(section: Resource | None) -> tuple[dict[str, ResourceValue], tuple[str, ...] | None]:
    """Read the section.

    Args:
        section: The section as loaded.

    Returns:
        Resource attributes, and the names of the detectors if the file speaks of them.

    Raises:
        ConfigError: An attribute does not have the type it says, a detector is unknown, or something
            cannot be honoured.
    """
    if section is None:
        return {}, None
    if section.schema_url:
        raise ConfigError("resource.schema_url cannot be honoured", "Leave it out; the SDK sets its own")
    attributes: dict[str, ResourceValue] = {}
    attributes.update(pairs.attributes("resource.attributes_list", section.attributes_list or ""))
    for number, attribute in enumerate(section.attributes or ()):
        if attribute.value is not None:
            attributes[attribute.name] = _value(f"resource.attributes[{number}].value", attribute)
    return attributes, _detectors(section)


def _detectors(section: Resource) -> tuple[str, ...] | None:
    detection = section.detection_development
    if detection is None:
        return None
    if detection.attributes is not None:
        raise ConfigError(
            f"{_DETECTION}.attributes cannot be honoured",
            "Leave it out, and name under detectors only what you want detected",
        )
    found = [name for each in detection.detectors or () for name in _names(each)]
    return tuple(dict.fromkeys(found))


def _names(detector: ExperimentalResourceDetector) -> tuple[str, ...]:
    for name in detector.additional_properties:
        if name not in checks.DETECTORS:
            raise unknown_name(f"detector in {_DETECTION}", name, {*checks.DETECTORS, *_STANDARD_DETECTORS})
        return (name,)
    return next(names for name, names in _STANDARD_DETECTORS.items() if getattr(detector, name) is not None)


def _value(where: str, attribute: AttributeNameValue) -> ResourceValue:
    value: Any = attribute.value
    kind = attribute.type.value if attribute.type else None
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    wants_array = kind is not None and kind.endswith("_array")
    matches, convert = _TYPES[(kind or "any").removesuffix("_array")]
    if (kind and wants_array != isinstance(value, list)) or not all(map(matches, items)):
        raise ConfigError(
            f"{where}, of {attribute.name}, is {value!r}, which is not of the type {kind}",
            "Change the value, or the type beside it",
        )
    converted = [convert(item) for item in items]
    return converted if isinstance(value, list) else converted[0]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(value: Any) -> Any:
    return value


_TYPES: Mapping[str, tuple[Callable[[object], bool], Callable[[Any], Any]]] = {
    "string": (lambda value: isinstance(value, str), str),
    "bool": (lambda value: isinstance(value, bool), bool),
    "int": (_is_whole, int),
    "double": (_is_number, float),
    # Without a type the value speaks for itself.
    "any": (lambda value: isinstance(value, (str, bool, int, float)), _same),
}
