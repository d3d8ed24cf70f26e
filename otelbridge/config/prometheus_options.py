"""The settings of the pull path: what a source says of it, and what is decided.

``None`` means "not said here", as in `otelbridge.config.options`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

PrometheusChoice = Literal["auto", "app", "server", "off"]
TranslationStrategy = Literal[
    "UnderscoreEscapingWithSuffixes",
    "UnderscoreEscapingWithoutSuffixes",
    "NoUTF8EscapingWithSuffixes",
    "NoTranslation",
]


@dataclass(frozen=True, kw_only=True)
class PrometheusOptions:
    """How Prometheus scrapes this process."""

    mode: PrometheusChoice | None = None
    """``app`` serves on the application given as ``app=``, ``server`` on a port of its own, ``off`` not
    at all. ``auto``, the default, is ``app`` where an application is given, else ``server``; said in a
    higher source it undoes an ``off`` of a lower one."""

    path: str | None = None
    """Path of the endpoint. Default ``/metrics``."""

    host: str | None = None
    """Address the own server listens on. Default ``localhost``."""

    port: int | None = None
    """Port the own server listens on; 0 takes a free one. Default 9464."""

    target_info: bool | None = None
    """Whether the resource appears as the series ``target_info``. Default true."""

    scope_labels: bool | None = None
    """Whether every series carries the labels ``otel_scope_name`` and ``otel_scope_version``.
    Default false, so that pull and push show the same labels."""

    cardinality_limits: Mapping[str, int] | None = None
    """Attribute sets that a stream keeps apart in a scrape, by kind of instrument: ``counter``,
    ``up_down_counter``, ``histogram``, ``gauge``, ``observable_counter``, ``observable_up_down_counter``,
    ``observable_gauge``, and ``default`` for kinds that are not named. By default that of the process."""

    translation_strategy: TranslationStrategy | None = None
    """How names of instruments and keys of attributes become Prometheus names, in the words of the
    specification: ``UnderscoreEscapingWithSuffixes``, ``UnderscoreEscapingWithoutSuffixes``,
    ``NoUTF8EscapingWithSuffixes`` or ``NoTranslation``. Default the first, which the dashboards and rules
    of otelbridge rely on."""

    resource_labels: tuple[str, ...] | None = None
    """Keys of resource attributes that every series carries as labels. Default none; ``target_info`` has
    them all."""

    created: bool | None = None
    """Whether OpenMetrics says since when a series counts (``_created``). Default false."""

    max_bytes: int | None = None
    """Bytes above which whole families are left out of a page, the largest first. Default 50 000 000."""

    bearer_token: str | None = field(default=None, repr=False)
    """Token that a scrape must show as ``Authorization: Bearer <token>``. Secret: it appears in no log,
    error or ``repr``."""

    bearer_token_file: str | None = None
    """File with that token instead, read anew for each request, so that it can rotate."""

    basic_users: Mapping[str, str] | None = field(default=None, repr=False)
    """Hashes of passwords by user name, for HTTP basic authentication, as
    `otelbridge.prometheus.passwords.hash_password` or bcrypt makes them. Secret."""

    client_names: tuple[str, ...] | None = None
    """Subject alternative names (DNS name, IP address, URI, e-mail address), one of which a client's
    certificate must carry. Needs `tls_client_ca`."""

    insecure: bool | None = None
    """Whether the own server may show the metrics to everybody who reaches it. Default false: without
    credentials or client certificates it listens on this machine only."""

    tls_certificate: str | None = None
    """File with the certificate of the own server, followed by those that lead to its CA, as PEM. Needs
    `tls_key`."""

    tls_key: str | None = None
    """File with the key of `tls_certificate`, as PEM, without a passphrase."""

    tls_client_ca: str | None = None
    """File with the CA certificates that clients' certificates must be signed by. With one, only clients
    with such a certificate are let in (mTLS)."""

    web_config_file: str | None = None
    """The ``web.config.yml`` that Prometheus and its exporters are secured with. Then it alone says who may
    read and how TLS is spoken: no other setting of these may be there, except `insecure`."""

    health: bool | None = None
    """Whether ``/healthz`` and ``/-/ready`` are served beside the metrics. By default on the own server,
    not on an application."""


@dataclass(frozen=True, kw_only=True)
class Prometheus:
    """The pull path, decided."""

    mode: PrometheusChoice = "off"
    """Where it is served. ``auto`` is left where applications are found by themselves: on each of them, and on the own
    server."""

    path: str = "/metrics"
    """Path of the endpoint."""

    host: str = "localhost"
    """Address of the own server."""

    port: int = 9464
    """Port of the own server."""

    target_info: bool = True
    """Whether ``target_info`` appears."""

    scope_labels: bool = False
    """Whether scope labels appear."""

    cardinality_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Attribute sets a stream keeps apart, by kind of instrument; empty leaves it to the process."""

    translation_strategy: TranslationStrategy = "UnderscoreEscapingWithSuffixes"
    """How names are translated."""

    resource_labels: tuple[str, ...] = ()
    """Keys of resource attributes that every series carries."""

    created: bool = False
    """Whether ``_created`` appears in OpenMetrics."""

    max_bytes: int = 50_000_000
    """Bytes above which families are left out of a page."""

    bearer_token: str | None = field(default=None, repr=False)
    """Token that opens, secret."""

    bearer_token_file: str | None = None
    """File with the token that opens."""

    basic_users: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Hashes of passwords by user name, secret; empty asks for none."""

    client_names: tuple[str, ...] = ()
    """Names of which a client's certificate must carry one; empty asks for none."""

    insecure: bool = False
    """Whether others may reach the own server unchecked."""

    tls_certificate: str | None = None
    """Certificate file of the own server; None for plain HTTP."""

    tls_key: str | None = None
    """Key file of the own server."""

    tls_client_ca: str | None = None
    """CA file for clients' certificates; None asks for none."""

    web_config_file: str | None = None
    """The ``web.config.yml`` that says who may read, and how TLS is spoken."""

    health: bool = True
    """Whether ``/healthz`` and ``/-/ready`` are served."""
