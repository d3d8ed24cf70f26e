"""The command line as a person meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from otelbridge.cli import main
from otelbridge.cli.command import Command
from otelbridge.cli.commands import COMMANDS
from otelbridge.version import __version__

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "otelbridge", *arguments],
        cwd=cwd,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_python_m_otelbridge_tells_the_version(tmp_path: Path) -> None:
    done = run("version", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"otelbridge {__version__}"
    assert "opentelemetry-sdk 1." in done.stdout


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out and command.help in out for name, command in COMMANDS.items())


def test_without_a_command_the_help_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_an_unknown_command_is_an_error_with_a_cure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stakc"]) == 2
    problem, cure = capsys.readouterr().err.splitlines()
    assert problem == "error: Unknown command 'stakc'"
    assert cure.startswith("cure: Did you mean 'stack'?")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"otelbridge {name}" in capsys.readouterr().out


def test_a_missing_component_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    done = run(
        "stack", "up", "--no-download", "--no-build", cwd=tmp_path, PATH="", OTELBRIDGE_CACHE=str(tmp_path / "cache")
    )
    assert done.returncode == 3
    assert done.stderr.startswith("error: otelcol 0.155 or later was not found")
    assert "\ncure: Three ways out: " in done.stderr
    assert "Traceback" not in done.stderr


def test_which_tells_about_every_tool_even_if_the_first_is_missing(tmp_path: Path) -> None:
    done = run("stack", "which", cwd=tmp_path, PATH="", OTELBRIDGE_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 3
    assert [name for name in ("otelcol", "prometheus", "promtool") if f"{name} " not in done.stdout] == []


def test_a_wrong_target_is_an_error_before_anything_is_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stack", "up", "--scrape", "nonsense"]) == 2
    assert "error: 'nonsense' is no scrape target" in capsys.readouterr().err


def test_down_and_status_where_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stack", "down", "--run-dir", str(tmp_path)]) == 0
    assert main(["stack", "status", "--run-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("nothing was started") == 2


class Interrupted:
    """A command during which the user presses Ctrl-C."""

    def configure(self, parser: object) -> None:
        return

    def run(self, arguments: object) -> int:
        raise KeyboardInterrupt


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Command, "load", lambda _: Interrupted())
    assert main(["version"]) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_leaves_early_causes_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -u -m otelbridge version | true",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
