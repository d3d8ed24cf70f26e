"""The pull path of a process, assembled from its configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from otelbridge.catalogue.naming import Strategy
from otelbridge.prometheus.access import Access, AccessOptions
from otelbridge.prometheus.address import check_address
from otelbridge.prometheus.negotiation import choose
from otelbridge.prometheus.port import Port
from otelbridge.prometheus.reader import PrometheusReader
from otelbridge.prometheus.readiness import Readiness
from otelbridge.prometheus.serving import AsgiEndpoint, MetricsSite, SiteOptions
from otelbridge.prometheus.tls import ServerTls, TlsOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otelbridge.config.options import Prometheus
    from otelbridge.prometheus.readiness import ComponentHealth
    from otelbridge.prometheus.web_config import WebConfigFile


class Pull:
    """The reader, and the site that serves what it renders.

    Args:
        config: The pull path.
        components: Gives the states of the components, for probes.

    Raises:
        ConfigError: A file named in the configuration cannot be used.
        MissingDependencyError: A setting needs a package that is not installed.
    """

    def __init__(self, config: Prometheus, components: Callable[[], Iterable[ComponentHealth]]) -> None:
        self.config = config
        """The settings."""
        self.reader = PrometheusReader(
            disable_target_info=not config.target_info,
            scope_info_enabled=config.scope_labels,
            resource_attribute_filter=frozenset(config.resource_labels).__contains__,
            strategy=Strategy(config.translation_strategy),
            created=config.created,
            max_bytes=config.max_bytes,
            cardinality_limits=config.cardinality_limits,
        )
        self._web = _web_config(config)
        self._tls = self._make_tls()
        self.site: MetricsSite[Any] = MetricsSite(
            self.reader.render,
            choose,
            self._make_access(),
            readiness=Readiness(components),
            headers=dict[str, str] if self._web is None else self._web.headers,
            options=_options(config),
        )

    def endpoints(self) -> dict[str, AsgiEndpoint]:
        """Give what is to be mounted on an application, by path: the metrics, and health where that is wanted."""
        options = self.site.options
        paths = (options.path, options.live_path, options.ready_path)
        return {path: AsgiEndpoint(self.site, path=path) for path in paths if path is not None}

    def endpoint(self) -> AsgiEndpoint:
        """Give the endpoint of the metrics, for an application that has chosen by path already."""
        return AsgiEndpoint(self.site, path=self.config.path)

    def serve(self, turn: Callable[[], bool]) -> Port:
        """Serve a port of its own.

        Args:
            turn: Tells whether it is this process' turn; see `Port`.

        Returns:
            The port, served or waited for.

        Raises:
            ConfigError: The address cannot be listened on, or may not without protection.
        """
        check_address(self.config.host, self.site.access, self._tls)
        return Port(self.config, self.site.answer, tls=self._tls, turn=turn if self.config.port else _always)

    def close(self) -> None:
        """Let what is being rendered come to its end."""
        self.site.close()

    def _make_access(self) -> Access:
        if self._web is not None:
            return self._web.access()
        config = self.config
        return Access(
            AccessOptions(
                bearer_token=config.bearer_token,
                bearer_token_file=config.bearer_token_file,
                basic_users=config.basic_users,
                client_names=config.client_names,
                insecure=config.insecure,
            )
        )

    def _make_tls(self) -> ServerTls | None:
        if self._web is not None:
            return self._web.server_tls()
        config = self.config
        if not config.tls_certificate or not config.tls_key:
            return None
        return ServerTls(
            TlsOptions(
                cert_file=config.tls_certificate,
                key_file=config.tls_key,
                client_ca_file=config.tls_client_ca,
            )
        )


def _web_config(config: Prometheus) -> WebConfigFile | None:
    if not config.web_config_file:
        return None
    from otelbridge.prometheus.web_config import WebConfigFile

    return WebConfigFile(config.web_config_file, AccessOptions(insecure=config.insecure))


def _always() -> bool:
    return True


def _options(config: Prometheus) -> SiteOptions:
    # Concurrent scrapes share one rendering. A later one gets another: whoever has just recorded finds it there.
    shared = SiteOptions(path=config.path, keep_seconds=0.0)
    return shared if config.health else replace(shared, live_path=None, ready_path=None)
