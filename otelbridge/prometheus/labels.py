"""Attributes made into Prometheus labels, and kept as long as their series lives."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import isfinite
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from otelbridge.catalogue.naming import encodable
from otelbridge.diagnostics import warn_once
from otelbridge.prometheus.translation import is_legacy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otelbridge.prometheus.translation import Translation

Pairs = tuple[tuple[str, str], ...]
"""Label names and values, in the order of the names, no name twice, no value empty."""

AttributeSet = Mapping[str, Any] | None
"""Attributes of a point, a scope or a resource."""

_MOST_NAMES, _LONG_NAME = 1000, 256
_KEY = itemgetter(0)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_LEAST_PLAIN, _MOST_PLAIN = 1e-6, 1e21  # between these, ECMAScript writes numbers without an exponent


class Labels:
    """The labels of one series, with what has been made of them.

    Args:
        pairs: Names and values.
    """

    __slots__ = ("pairs", "text", "wire")

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.text = label_text(pairs)
        """As it stands between the braces of a sample."""
        self.wire: bytes | None = None
        """As protobuf, once somebody has written it."""

    def __repr__(self) -> str:
        return f"Labels({{{self.text}}})"


class Labeller:
    """Makes labels of attributes, for the series of one stream.

    Keys that become the same label are joined: the values, in the order of the keys, with ``;`` between
    (OpenTelemetry specification, "Metric Attributes"). A label without value is the same as no label for
    Prometheus, so it is left out; otherwise one series would look like two.

    Args:
        translation: How keys are named.
        base: Keys and values that every series has, for instance those of its scope.
        reserved: Label names that the format needs for itself (``le``); they get the prefix ``exported_``,
            as Prometheus itself names what it has to move out of the way.
    """

    def __init__(
        self,
        translation: Translation,
        base: Iterable[tuple[str, str]] = (),
        *,
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        self._translation = translation
        self._base = tuple(base)
        self._reserved = reserved
        self._names: dict[str, str] = {}

    def pairs(self, attributes: AttributeSet) -> Pairs:
        """Name and write attributes.

        Args:
            attributes: The attributes of a point.

        Returns:
            The labels.
        """
        items = [*self._base, *((str(key), value_text(value)) for key, value in (attributes or {}).items())]
        items.sort(key=_KEY)
        found: dict[str, str] = {}
        names = self._names
        for key, value in items:
            name = names.get(key) or self._name(key)
            found[name] = f"{found[name]};{value}" if name in found else value
        return tuple(sorted([item for item in found.items() if item[1]]))

    def _name(self, key: str) -> str:
        name = self._translation.label(key)
        if name in self._reserved:
            name = f"exported_{name}"
        # Whoever invents keys without end, or endless keys, has them named anew each time.
        if len(self._names) < _MOST_NAMES and len(key) < _LONG_NAME:
            self._names[key] = name
        return name


class LabelCache:
    """Remembers the labels of attribute sets by their identity, as long as they keep coming.

    Attribute sets are taken for immutable, as those of data points are: the SDK and this package copy what
    callers give.

    Args:
        labeller: Makes the labels.
        interned: The labels of the family, shared by all its streams, so that series whose labels are equal
            are given the same object.
        owner: Name of the family, for reports.
    """

    __slots__ = ("_found", "_held", "_interned", "_known", "_labeller", "_owner", "_points", "refusing")

    def __init__(self, labeller: Labeller, interned: dict[Pairs, Labels], owner: str) -> None:
        self._labeller = labeller
        self._interned = interned
        self._owner = owner
        self._known: dict[int, Labels | None] = {}
        # Identities are unique only among objects that live.
        self._held: list[AttributeSet] = []
        self._points: Sequence[Any] | None = None
        self._found: list[Labels | None] = []
        self.refusing = False
        """Whether some attribute sets could not be made into labels."""

    def __len__(self) -> int:
        return len(self._known)

    def of(self, points: Sequence[Any], *, lasting: bool) -> list[Labels | None]:
        """Give the labels of all points of a stream; see `find`.

        Args:
            points: All points there are now.
            lasting: Whether the same list always is of the same series. It is looked through only once then.

        Returns:
            Labels in the same order. Not to be changed.
        """
        if not lasting:
            return self.find([point.attributes for point in points])
        if points is not self._points:
            self._found = self.find([point.attributes for point in points])
            self._points = points
        return self._found

    def find(self, sets: Sequence[AttributeSet]) -> list[Labels | None]:
        """Give the labels of all attribute sets of a stream, and forget those that are not among them.

        Args:
            sets: The attribute sets of all series there are now.

        Returns:
            Labels in the same order; None for those that could not be made into labels, reported once.
        """
        known = self._known
        try:
            found = [known[id(attributes)] for attributes in sets]
        except KeyError:
            found = [known[at] if (at := id(each)) in known else self._meet(each) for each in sets]
        if len(known) > len(sets):
            self._forget(sets)
        return found

    def _meet(self, attributes: AttributeSet) -> Labels | None:
        labels: Labels | None = None
        try:
            pairs = self._labeller.pairs(attributes)
            labels = self._interned.get(pairs)
            if labels is None:
                labels = self._interned[pairs] = Labels(pairs)
        except Exception as error:
            self.refusing = True
            warn_once(
                (self._owner, "labels", type(error).__name__),
                "%.200s leaves out a series whose attributes cannot be made into labels (%s: %.100s). Record plain "
                "texts and numbers.",
                self._owner,
                type(error).__name__,
                error,
            )
        self._known[id(attributes)] = labels
        self._held.append(attributes)
        return labels

    def _forget(self, sets: Sequence[AttributeSet]) -> None:
        live = set(map(id, sets))
        self._known = {at: labels for at, labels in self._known.items() if at in live}
        self._held = list(sets)


def label_text(pairs: Iterable[tuple[str, str]]) -> str:
    """Write labels as they stand between the braces of a sample.

    Args:
        pairs: Names and values.

    Returns:
        For instance ``method="GET",route="/"``. Names beyond the classic ones are quoted.
    """
    return ",".join([f'{quoted(name, label=True)}="{escaped(value)}"' for name, value in pairs])


def quoted(name: str, *, label: bool = False) -> str:
    """Put a name into quotes where it needs them.

    Args:
        name: Name of a family or a label.
        label: Whether it is a label.

    Returns:
        The name as the text formats want it.
    """
    return name if is_legacy(name, label=label) else f'"{escaped(name)}"'


def escaped(text: str) -> str:
    """Escape what stands between quotes: backslashes, quotes and line feeds."""
    if "\\" in text or '"' in text or "\n" in text:  # rarely
        return text.translate(_ESCAPES)
    return text


def value_text(value: object) -> str:
    """Write an attribute's value as a label's.

    Args:
        value: Any attribute value.

    Returns:
        Text as it is, everything else as the OpenTelemetry specification says ("AnyValue representation for
        non-OTLP protocols"), in the form the Collector uses: ``true``, ``1``, ``0.5``, ``["a","b"]``. Never
        anything that cannot be encoded.
    """
    if type(value) is str:
        return encodable(value)
    if type(value) is int:
        return str(value)
    if value is None:
        return ""
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return encodable(write(value))
    return encodable(str(value))


def _float_text(value: float) -> str:
    if not isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124
    if value and not _LEAST_PLAIN <= abs(value) < _MOST_PLAIN:
        return repr(value).replace("e-0", "e-")
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def _bytes_text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _json_text(value: object) -> str:
    if isinstance(value, float) and isfinite(value):
        return _float_text(value)
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, Mapping):
        items = sorted(cast("Mapping[str, object]", value).items(), key=_KEY)
        return "{" + ",".join(f"{_quote(key)}:{_json_text(each)}" for key, each in items) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "[" + ",".join(_json_text(each) for each in cast("Sequence[object]", value)) + "]"
    return _quote(value_text(value))


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


_WRITERS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (str, str.__str__),
    (bool, lambda value: "true" if value else "false"),
    (int, lambda value: str(int(value))),
    (float, lambda value: _float_text(float(value))),
    (bytes, _bytes_text),
    (Mapping, _json_text),
    (Sequence, _json_text),
)
