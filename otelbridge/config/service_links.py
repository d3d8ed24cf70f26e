"""Variables that Kubernetes makes for each Service (``enableServiceLinks``), which are no settings.

For a Service ``shop-db`` with the port ``sql`` they are ``SHOP_DB_SERVICE_HOST``, ``SHOP_DB_SERVICE_PORT``,
``SHOP_DB_SERVICE_PORT_SQL``, ``SHOP_DB_PORT`` and ``SHOP_DB_PORT_5432_TCP`` with ``_PROTO``, ``_PORT`` and ``_ADDR``
behind it. A Service called after us makes names that begin like ours, and one of them may be a setting's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from otelbridge.diagnostics import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST = "_SERVICE_HOST"
_PORT = r"PORT_[0-9]+_(TCP|UDP|SCTP)"
_OF_A_PORT = re.compile(rf".+_{_PORT}(_(PROTO|PORT|ADDR))?")
_OF_A_SERVICE = re.compile(r"SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://.+")


def without_service_links(environ: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    """Leave out what Kubernetes has made.

    Args:
        environ: The environment.
        prefixes: How the names begin that matter.

    Returns:
        Of the variables with these prefixes those that somebody has set.
    """
    ours = {name: value for name, value in environ.items() if name.startswith(prefixes)}
    services = [name.removesuffix(_HOST) + "_" for name in ours if name.endswith(_HOST)]
    made = {name for name, value in ours.items() if _is_made(name, value, services)}
    if made:
        logger.debug("Not settings, but variables that Kubernetes makes for a Service: %s", ", ".join(sorted(made)))
    return {name: value for name, value in ours.items() if name not in made}


def _is_made(name: str, value: str, services: list[str]) -> bool:
    # A value that somebody has set in place of a Service's address is a setting.
    if name.endswith("_PORT") and _ADDRESS.fullmatch(value):
        return True
    return _OF_A_PORT.fullmatch(name) is not None or any(
        name.startswith(service) and _OF_A_SERVICE.fullmatch(name, len(service)) for service in services
    )
