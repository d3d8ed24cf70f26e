from __future__ import annotations

from otelbridge.artifacts.files import ARTIFACTS
from otelbridge.cli import main


def test_every_artifact_is_listed(capsys) -> None:
    assert main(["artifacts"]) == 0
    assert capsys.readouterr().out.split() == list(ARTIFACTS)


def test_written_artifacts_are_current_until_they_are_touched(tmp_path, capsys) -> None:
    assert main(["artifacts", "--write", str(tmp_path)]) == 0
    assert main(["artifacts", "--check", str(tmp_path)]) == 0
    alerts = tmp_path / "prometheus" / "otelbridge-alerts.yaml"
    alerts.write_text(alerts.read_text().replace("5m", "50m"))
    assert main(["artifacts", "--check", str(tmp_path)]) == 1
    assert "run: otelbridge artifacts --write" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_an_error(tmp_path, capsys) -> None:
    assert main(["artifacts", "--write", str(tmp_path / "absent")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "absent").exists()
