"""The pull path, decided: every field by the highest source that says it, and all of them together sound."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from otelbridge.config.options import Prometheus
from otelbridge.config.variables import VARIABLES
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otelbridge.config.options import PrometheusChoice, PrometheusOptions

    Spell = Callable[[str], str]

_VARIABLES = {each.target: each.name for each in VARIABLES}
# How arguments, environment and file write the name of a field, for errors.
_SPELLINGS: tuple[Spell, ...] = (
    lambda name: f"prometheus.{name}",
    lambda name: _VARIABLES[f"prometheus.{name}"],
    lambda name: f"distribution.otelbridge.prometheus.{name}",
)

_EITHER_OR = (
    ("bearer_token", "bearer_token_file"),
    *(
        ("web_config_file", other)
        for other in (
            "bearer_token",
            "bearer_token_file",
            "basic_users",
            "client_names",
            "tls_certificate",
            "tls_key",
            "tls_client_ca",
        )
    ),
)
_NEEDS = (
    ("tls_certificate", "tls_key", "Name the file with the key of the certificate there"),
    ("tls_key", "tls_certificate", "Name the file with the certificate of the key there"),
    ("tls_client_ca", "tls_certificate", "Clients show certificates over TLS only; name the server's own there"),
    ("client_names", "tls_client_ca", "Name the file with the CA of the clients' certificates there"),
)

_BY_APPLICATION: dict[bool | None, PrometheusChoice] = {True: "app", False: "server", None: "auto"}


def resolve_prometheus(sources: Sequence[PrometheusOptions | None], *, app: bool | None) -> Prometheus:
    """Decide the pull path.

    Args:
        sources: What arguments, environment and file say.
        app: Whether an application is given, which then serves the metrics by default; None where applications are
            found later.

    Returns:
        Settings in which nothing is left open.

    Raises:
        ConfigError: Settings contradict each other, or one lacks another. The message names both as their
            sources write them.
    """
    values: dict[str, Any] = {}
    spelled: dict[str, Spell] = {}
    for options, spell in zip(sources, _SPELLINGS, strict=True):
        for each in fields(options) if options is not None else ():
            value = getattr(options, each.name)
            if value is not None and each.name not in values:
                values[each.name], spelled[each.name] = value, spell
    _check(values, spelled)
    values["mode"] = _mode([options.mode for options in sources if options is not None], app=app)
    values.setdefault("health", values["mode"] in ("server", "auto"))
    return Prometheus(**values)


def _check(values: dict[str, Any], spelled: dict[str, Spell]) -> None:
    for one, other in _EITHER_OR:
        if values.get(one) and values.get(other):
            raise ConfigError(f"{spelled[one](one)} and {spelled[other](other)} are both set", "Set one of them")
    for name, needed, cure in _NEEDS:
        if values.get(name) and not values.get(needed):
            spell = spelled[name]
            raise ConfigError(f"{spell(name)} is set without {spell(needed)}", cure)


def _mode(said: Sequence[str | None], *, app: bool | None) -> PrometheusChoice:
    modes = [mode for mode in said if mode is not None]
    if modes and modes[0] == "off":
        return "off"
    # "auto" leaves the place open, so a lower source that names one decides; its "off" has lost.
    places: list[PrometheusChoice] = [mode for mode in modes if mode in ("app", "server")]
    return places[0] if places else _BY_APPLICATION[app]
