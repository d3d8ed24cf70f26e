from __future__ import annotations

import ast
import inspect
import itertools
import re
from dataclasses import fields
from pathlib import Path

import pytest

from otelbridge.config.distribution import KEYS
from otelbridge.config.file import settings_from_file
from otelbridge.config.options import Otlp, OtlpOptions, Prometheus, PrometheusOptions, Settings
from otelbridge.config.prometheus_checks import PROMETHEUS_CHECKS
from otelbridge.config.resolve import resolve
from otelbridge.config.variables import OTHERS, VARIABLES, Variable

DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_every_variable_is_in_the_document(variable: Variable) -> None:
    assert f"| `{variable.name}` | {variable.description} |" in DOCUMENT


@pytest.mark.parametrize("name", sorted(OTHERS) + sorted(KEYS) + sorted(PROMETHEUS_CHECKS))
def test_every_other_name_is_in_the_document(name: str) -> None:
    assert f"`{name}`" in DOCUMENT


def test_every_variable_sets_something_there_is() -> None:
    known = {each.name for each in fields(Settings)} | {
        "disabled",
        "exporters",
        "otlp.all_headers",
        "otlp.export_timeout",
    }
    known |= {f"prometheus.{each.name}" for each in fields(PrometheusOptions)}
    known |= {f"otlp.{each.name}" for each in fields(OtlpOptions)}
    assert {each.target for each in VARIABLES if each.target} <= known
    assert len({each.name for each in VARIABLES}) == len(VARIABLES)


def test_the_example_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLLECTOR", raising=False)
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    path = tmp_path / "otel.yaml"
    path.write_text(example)
    settings = settings_from_file(path)
    domains = frozenset({"agents", "business", "tasks"})
    config = resolve(Settings(), Settings(), settings, app=True, known_domains=domains)
    assert config.service_name == "shop"
    assert config.otlp[0].metrics_endpoint == "http://localhost:4318/v1/metrics"
    assert config.spans[0].headers == {}
    assert config.prometheus.mode == "app"
    assert len(config.views) == 3
    assert config.prometheus.cardinality_limits == {"default": 1000, "histogram": 200}
    assert config.prometheus.resource_labels == ("service.namespace",)
    assert config.prometheus.bearer_token_file == "/run/secrets/metrics-token"
    assert config.run_directory == Path("/run/shop")


def _documented_defaults(options: type) -> dict[str, str]:
    """Defaults by field, as the docstrings below the fields say them."""
    (body,) = ast.parse(inspect.getsource(options)).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for declared, text in itertools.pairwise(body.body):
        if isinstance(declared, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            said = re.search(r"Default (?:``([^`]+)``|(\d[\d ]*\d|\d)|(true|false))(?:[.,:;]|$)", str(text.value.value))
            if said is not None:
                found[ast.unparse(declared.target)] = next(filter(None, said.groups())).replace(" ", "")
    return found


@pytest.mark.parametrize(("options", "resolved"), [(PrometheusOptions, Prometheus), (OtlpOptions, Otlp)])
def test_defaults_in_docstrings_are_those_of_the_code(options: type, resolved: type) -> None:
    said = _documented_defaults(options)
    there = {each.name: each.default for each in fields(resolved)}
    # Seconds are floats, and written without a fraction.
    assert said == {name: str(there[name]).lower().removesuffix(".0") for name in said}
    assert len(said) >= 5
