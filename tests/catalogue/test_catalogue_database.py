from opentelemetry.semconv._incubating.metrics import db_metrics

from otelbridge.catalogue.database import DOMAIN
from otelbridge.catalogue.naming import metric_name

CONVENTIONAL = {value for name, value in vars(db_metrics).items() if name.startswith("DB_CLIENT_")}


def test_ids_run_in_order_and_names_are_unique():
    assert [metric.id for metric in DOMAIN.metrics] == [f"D{n}" for n in range(1, 10)] + ["K1", "K2", "K3"]
    assert len({metric.name for metric in DOMAIN.metrics}) == len(DOMAIN.metrics)


def test_only_names_of_the_convention_claim_it():
    for metric in DOMAIN.metrics:
        assert (metric.name in CONVENTIONAL) == (metric.convention == "semconv"), metric.name


def test_no_metric_carries_the_text_of_a_query():
    keys = set().union(*(metric.attribute_keys for metric in DOMAIN.metrics))
    assert not keys & {"db.query.text", "db.query.summary"}


def test_prometheus_names():
    assert [metric_name(metric) for metric in DOMAIN.metrics] == [
        "db_client_operation_duration_seconds",
        "db_client_connection_count",
        "db_client_connection_max",
        "db_client_connection_pending_requests",
        "db_client_connection_timeouts_total",
        "db_client_connection_wait_time_seconds",
        "db_client_connection_create_time_seconds",
        "db_client_connection_use_time_seconds",
        "db_client_transaction_duration_seconds",
        "cache_requests_total",
        "cache_entry_count",
        "cache_memory_usage_bytes",
    ]
