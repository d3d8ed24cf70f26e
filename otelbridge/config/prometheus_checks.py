"""Checks of the settings of the pull path. No error shows a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast, get_args

from otelbridge.config import checks
from otelbridge.config.prometheus_options import TranslationStrategy
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from otelbridge.config.checks import Check

STRATEGIES: tuple[str, ...] = get_args(TranslationStrategy)
"""The translation strategies; specification of the Prometheus exporter, "Translation Strategy"."""

# RFC 6750, section 2.1.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LONGEST_TOKEN = 4096
# RFC 7617, section 2.
_NOT_IN_A_USER = re.compile(r"[\x00-\x1f\x7f:]")


def bearer_token(where: str, value: object) -> str:
    """Check a bearer token. Errors never show it."""
    if not isinstance(value, str) or len(value) > _LONGEST_TOKEN or not _TOKEN.fullmatch(value):
        raise ConfigError(
            f"{where} cannot be sent as a bearer token (it is not shown)",
            f"Give a text of at most {_LONGEST_TOKEN} of the characters A-Z a-z 0-9 . _ ~ + / - (RFC 6750), "
            "for instance from: openssl rand -hex 32",
        )
    return value


def basic_users(where: str, value: object) -> dict[str, str]:
    """Check hashes of passwords by user name. Errors never show a hash, nor what may be one by mistake.

    Whether a hash can be used is found out where it is, since that may take a package.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where} is {type(value).__name__}, which is no mapping", "Give a mapping of user names to hashes"
        )
    users = cast("Mapping[object, object]", value)
    return dict(_user(where, name, hashed) for name, hashed in users.items())


def _user(where: str, name: object, hashed: object) -> tuple[str, str]:
    if not isinstance(name, str) or not name or _NOT_IN_A_USER.search(name):
        raise ConfigError(
            f"{where} has a user name that cannot be sent (not shown, it may be secret)",
            "Use a text without colons and control characters (RFC 7617)",
        )
    if not isinstance(hashed, str) or not hashed:
        raise ConfigError(
            f"{where} has no hash for one of its users (the user is not shown, it may be secret)",
            "Give the hash of the password as text, as otelbridge.prometheus.passwords.hash_password makes it",
        )
    return name, hashed


PROMETHEUS_CHECKS: Mapping[str, Check] = {
    "mode": checks.choice(checks.PROMETHEUS_MODES),
    "path": checks.path,
    "host": checks.host,
    "port": checks.port,
    "target_info": checks.flag,
    "scope_labels": checks.flag,
    "cardinality_limits": checks.cardinality_limits,
    "translation_strategy": checks.choice(STRATEGIES),
    "resource_labels": checks.names,
    "created": checks.flag,
    "max_bytes": checks.limit,
    "bearer_token": bearer_token,
    "bearer_token_file": checks.file,
    "basic_users": basic_users,
    "client_names": checks.names,
    "insecure": checks.flag,
    "tls_certificate": checks.file,
    "tls_key": checks.file,
    "tls_client_ca": checks.file,
    "web_config_file": checks.file,
    "health": checks.flag,
}
"""The check of each field of `PrometheusOptions`."""
