"""Both ways at once, equal: what the scrape shows and what the collector makes of OTLP, series by series."""

from __future__ import annotations

import subprocess

import pytest

from otelbridge.catalogue.naming import metric_name
from otelbridge.catalogue.registry import DOMAINS
from otelbridge.stack import StackError, locate
from tests.components import missing
from tests.integration.series import families, names, read, resting

pytestmark = pytest.mark.components

# Names that semantic conventions (and the catalogue after their pattern) end in ".count"; promtool's style
# check would keep that ending for histograms.
_COUNT_LINT = 'non-histogram and non-summary metrics should not have "_count" suffix'


def test_both_ways_show_the_same_names(scene) -> None:
    assert names(read(scene.direct())) == names(read(scene.collected()))


def test_both_ways_show_the_same_labels(scene) -> None:
    direct, collected = read(scene.direct()), read(scene.collected())
    # target_info differs by the three attributes the collector turns into job and instance.
    one, other = ({key for key in side if key[0] != "target_info"} for side in (direct, collected))
    assert one - other == set()
    assert other - one == set()


def test_both_ways_show_the_same_values(scene) -> None:
    direct, collected = resting(read(scene.direct())), resting(read(scene.collected()))
    assert len(direct) > 500
    # Sums of floats may be added up in another order on each way.
    different = {
        key: (value, collected[key]) for key, value in direct.items() if collected[key] != pytest.approx(value)
    }
    assert different == {}
    counted = {key: value for key, value in direct.items() if key[0].endswith(("_count", "_bucket"))}
    assert {key: collected[key] for key in counted} == counted


def test_both_ways_show_the_same_types_and_help(scene) -> None:
    direct, collected = families(scene.direct()), families(scene.collected())
    for side in (direct, collected):
        side.pop("target", None)
        side.pop("target_info", None)
    assert direct == collected


def test_target_info_differs_by_what_becomes_job_and_instance(scene) -> None:
    def info(page: str) -> dict[str, str]:
        (labels,) = [dict(labels) for (name, labels) in read(page) if name == "target_info"]
        return labels

    direct, collected = info(scene.direct()), info(scene.collected())
    only_direct = set(direct) - set(collected)
    assert only_direct <= {"service_name", "service_namespace", "service_instance_id"}
    assert set(collected) <= set(direct)
    assert {key: direct[key] for key in collected} == collected


def test_prometheus_answers_for_every_domain_both_ways(scene) -> None:
    up = {result["metric"]["job"]: result["value"][1] for result in scene.query("up")}
    assert up["shop"] == "1"
    for domain in DOMAINS:
        exposed = "|".join(f"{metric_name(metric)}(_count)?" for metric in domain.metrics)
        results = scene.query(f'count by (instance) ({{__name__=~"{exposed}"}})')
        assert len(results) == 2, f"{domain.name}: {results}"


def test_prometheus_computes_the_same_both_ways(scene) -> None:
    for expression in (
        "sum by (instance) (http_server_request_duration_seconds_count)",
        "sum by (instance) (db_client_operation_duration_seconds_count)",
        "sum by (instance) (gen_ai_client_inference_usage_output_tokens_total)",
        "sum by (instance) (task_duration_seconds_count)",
        "sum by (instance) (business_revenue_total)",
        "histogram_quantile(0.95, sum by (instance, le) (http_server_request_duration_seconds_bucket))",
    ):
        values = [float(result["value"][1]) for result in scene.query(expression)]
        assert len(values) == 2, expression
        assert values[0] == pytest.approx(values[1]), expression
        assert values[0] > 0


def test_promtool_finds_nothing_but_the_endings_the_conventions_ask_for(scene) -> None:
    try:
        promtool = locate("promtool", say=lambda line: None)
    except StackError as error:
        missing("promtool", str(error))
    for page in (scene.direct(), scene.collected()):
        checked = subprocess.run(
            [promtool.path, "check", "metrics"], input=page, text=True, capture_output=True, check=False
        )
        assert checked.returncode in (0, 3)  # 1 would be a page that does not parse; 3 is remarks about style
        counts = {
            metric_name(metric) for domain in DOMAINS for metric in domain.metrics if metric.name.endswith(".count")
        }
        remarks = {line for line in (checked.stdout + checked.stderr).splitlines() if line.strip()}
        assert remarks <= {f"{name} {_COUNT_LINT}" for name in counts}
