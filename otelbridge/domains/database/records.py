"""The recorders of the domain, shared by what users call and by the SQLAlchemy instrumentation."""

from __future__ import annotations

from otelbridge.catalogue import database as catalogue
from otelbridge.domains.recording import DomainMeter

METER = DomainMeter(catalogue.DOMAIN)

OPERATION_DURATION = METER.recorder(catalogue.OPERATION_DURATION)
TRANSACTION_DURATION = METER.recorder(catalogue.TRANSACTION_DURATION)

CONNECTION_COUNT = METER.observed(catalogue.CONNECTION_COUNT)
CONNECTION_MAX = METER.observed(catalogue.CONNECTION_MAX)
CONNECTION_PENDING_REQUESTS = METER.recorder(catalogue.CONNECTION_PENDING_REQUESTS)
CONNECTION_TIMEOUTS = METER.recorder(catalogue.CONNECTION_TIMEOUTS)
CONNECTION_WAIT_TIME = METER.recorder(catalogue.CONNECTION_WAIT_TIME)
CONNECTION_CREATE_TIME = METER.recorder(catalogue.CONNECTION_CREATE_TIME)
CONNECTION_USE_TIME = METER.recorder(catalogue.CONNECTION_USE_TIME)

CACHE_REQUESTS = METER.recorder(catalogue.CACHE_REQUESTS)
CACHE_ENTRY_COUNT = METER.observed(catalogue.CACHE_ENTRY_COUNT)
CACHE_MEMORY_USAGE = METER.observed(catalogue.CACHE_MEMORY_USAGE)
