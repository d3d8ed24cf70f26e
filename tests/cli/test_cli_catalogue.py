from __future__ import annotations

from otelbridge.catalogue.naming import metric_name
from otelbridge.catalogue.registry import METRICS
from otelbridge.cli import main


def test_every_metric_is_listed(capsys) -> None:
    assert main(["catalogue"]) == 0
    words = set(capsys.readouterr().out.split())
    assert {metric_name(metric) for metric in METRICS.values()} <= words


def test_written_documents_are_current_until_they_are_touched(tmp_path, capsys) -> None:
    assert main(["catalogue", "--write", str(tmp_path)]) == 0
    assert main(["catalogue", "--check", str(tmp_path)]) == 0
    (tmp_path / "metrics.md").write_text("something else")
    (tmp_path / "coverage.md").unlink()
    assert main(["catalogue", "--check", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "metrics.md is not what the catalogue says" in printed
    assert "coverage.md is not what the catalogue says" in printed


def test_a_folder_that_is_not_there_is_an_error(tmp_path, capsys) -> None:
    assert main(["catalogue", "--write", str(tmp_path / "absent")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_reference_names_every_metric_and_attribute(tmp_path) -> None:
    main(["catalogue", "--write", str(tmp_path)])
    page = (tmp_path / "metrics.md").read_text()
    for metric in METRICS.values():
        assert f"`{metric.name}`" in page
        assert f"`{metric_name(metric)}`" in page
        for attribute in metric.attributes:
            assert f"`{attribute.key}`" in page
