"""What a domain call may carry: amounts and attribute values, each kept where it is right and reported where not."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, TypeGuard, TypeVar, cast

from otelbridge.catalogue.model import Attribute, Kind, Metric
from otelbridge.diagnostics import warn_once
from otelbridge.metrics.observers import name_returned

if TYPE_CHECKING:
    from collections.abc import Mapping

    AttributeValue = str | bool | int | float
    Attributes = Mapping[str, AttributeValue | None]

_Returned = TypeVar("_Returned")

OTHER = "_OTHER"
"""What a value outside a closed set is recorded as, as the semantic conventions do it."""

MAX_LENGTH = 1024
"""Characters of a text attribute that are kept; OpenTelemetry leaves the limit to its users."""

# What OTLP holds in an integer. One number beyond it would cost the whole export, at every export.
_INT64 = 2**63
_SURROGATES = re.compile("[\ud800-\udfff]")


def checked_amount(metric: Metric, amount: object) -> float | None:
    """Return an amount that the metric can take, or None after reporting why it cannot.

    Args:
        metric: The metric that is recorded.
        amount: What the caller gave.

    Returns:
        The amount as an int or float; None for anything that is not a finite real number, and for a
        negative one where the metric only counts up. Decimals, fractions and the numbers of NumPy are
        taken as floats, and so are whole numbers of more than 64 bits.
    """
    if not is_number(amount):
        warn_once(
            (metric.name, "type"),
            "%s takes a number, not %.100r of type %s; the measurement is left out.",
            metric.name,
            amount,
            type(amount).__name__,
        )
        return None
    number = _finite(amount)
    if number is None:
        warn_once((metric.name, "finite"), "%s takes a finite number, not %.100r; it is left out.", metric.name, amount)
        return None
    if number < 0 and metric.kind in (Kind.COUNTER, Kind.HISTOGRAM, Kind.OBSERVABLE_COUNTER):
        warn_once(
            (metric.name, "negative"),
            "%s cannot take the negative amount %.100r; it is left out. Record the reverse as its own event.",
            metric.name,
            amount,
        )
        return None
    return number


def checked_return(returned: _Returned, kind: type, wanted: str) -> _Returned:
    """Give what a callback of the application returned, if it is what is wanted.

    Args:
        returned: What it returned.
        kind: The type it has to be of.
        wanted: That type, in words.

    Raises:
        TypeError: It is of another. The text says what came back, and what is wanted.
    """
    if not isinstance(returned, kind):
        raise TypeError(f"it returned {name_returned(returned)}; let it be a plain function that returns {wanted}")
    return returned


def is_number(amount: object) -> TypeGuard[float | Decimal | Real]:
    """Tell whether a value is a number that can be measured; a boolean is none."""
    try:
        return isinstance(amount, (int, float, Decimal, Real)) and not isinstance(amount, bool)
    except Exception:  # a proxy, say, that raises when it is asked what it is
        return False


def _finite(amount: float | Decimal | Real) -> float | None:
    try:
        as_float = float(amount)
    except Exception:  # an int beyond every float, a signalling NaN, a number of somebody's own making
        return None
    if not math.isfinite(as_float):
        return None
    whole = int(amount) if isinstance(amount, int) else None
    return as_float if whole is None or not _fits(whole) else whole


def _fits(whole: int) -> bool:
    return -_INT64 <= whole < _INT64


def checked_attributes(metric: Metric, attributes: Attributes | None) -> dict[str, AttributeValue]:
    """Keep the attributes that the metric declares, with values of a right type.

    Args:
        metric: The metric that is recorded.
        attributes: What the caller gave; a value of None means absent.

    Returns:
        A new dictionary. Unknown keys, wrong types and numbers no exporter can write are left out and
        reported once; a value outside a closed set becomes `OTHER`. Texts are cut at `MAX_LENGTH` and
        made encodable.
    """
    kept: dict[str, AttributeValue] = {}
    if attributes is None:
        return kept
    try:
        items = [(key, value) for key, value in attributes.items()]
    except Exception:
        warn_once(
            (metric.name, "attributes"),
            "%s takes attributes as a mapping, not %s; they are left out.",
            metric.name,
            type(attributes).__name__,
        )
        return kept
    declared = {attribute.key: attribute for attribute in metric.attributes}
    for key, value in items:
        try:
            checked = None if value is None else _checked_value(metric, declared, key, value)
        except Exception as error:  # a proxy, say, that raises when it is asked what it is
            warn_once((metric.name, "value", shown(key)), "An attribute of %s raised %r.", metric.name, error)
            continue
        if checked is not None:
            kept[str.__str__(key)] = checked
    return kept


def _checked_value(
    metric: Metric, declared: Mapping[str, Attribute], key: str, value: AttributeValue
) -> AttributeValue | None:
    attribute = declared.get(key) if isinstance(cast("object", key), str) else None
    if attribute is None:
        warn_once(
            (metric.name, "key", shown(key)),
            "%s has no attribute %s; it is left out. Known: %s.",
            metric.name,
            shown(key),
            ", ".join(declared) or "none",
        )
        return None
    if not isinstance(cast("object", value), (str, bool, int, float)):
        warn_once(
            (metric.name, "value", attribute.key),
            "The attribute %s of %s takes a string, number or boolean, not %s; it is left out.",
            attribute.key,
            metric.name,
            type(value).__name__,
        )
        return None
    if attribute.closed and value not in attribute.values:
        warn_once(
            (metric.name, "closed", attribute.key),
            "%.100r is no value of %s; it is recorded as %s. Known: %s.",
            value,
            attribute.key,
            OTHER,
            ", ".join(attribute.values),
        )
        return OTHER
    return _plain(metric, attribute.key, value)


def _plain(metric: Metric, key: str, value: AttributeValue) -> AttributeValue | None:
    """Give a value every exporter can write, and writes alike; None, after a report, where there is none."""
    # An Enum of texts, say, prints its name in one place and its value in another.
    if isinstance(value, str):
        return _encodable(metric, key, str.__str__(value))
    if isinstance(value, bool):
        return value
    number = int(value) if isinstance(value, int) else float(value)
    if _fits(number) if isinstance(number, int) else math.isfinite(number):
        return number
    warn_once(
        (metric.name, "number", key),
        "The attribute %s of %s takes a finite number of at most 64 bits; another one is left out.",
        key,
        metric.name,
    )
    return None


def _encodable(metric: Metric, key: str, text: str) -> str:
    if len(text) > MAX_LENGTH:
        warn_once(
            (metric.name, "length", key),
            "The attribute %s of %s is cut at %d characters, it has %d: %.100r. Record a word of a small set.",
            key,
            metric.name,
            MAX_LENGTH,
            len(text),
            text,
        )
        text = text[:MAX_LENGTH]
    # File names and the like come with lone surrogates, which no UTF-8 holds: one would fail every scrape.
    return text if text.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def shown(key: object) -> str:
    """Write a key for a log line, without running code of the caller's."""
    return repr(key[:100]) if isinstance(key, str) else f"of type {type(key).__name__}"
