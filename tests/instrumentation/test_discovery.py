"""Names of instrumentations, and which of them can run."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.errors import ConfigError, MissingDependencyError
from otelbridge.instrumentation import discovery

ROOT = Path(__file__).parents[2]
NAMES = (
    "fastapi",
    "starlette",
    "sqlalchemy",
    "system",
    "process",
    "runtime",
    "httpx",
    "httpx2",
    "requests",
    "urllib3",
    "aiohttp-client",
)


def lacking(monkeypatch, name: str) -> None:
    monkeypatch.setitem(discovery._KNOWN, name, discovery.Instrumentation((discovery.Need("no_such", "no-such"),), "x"))


def test_known() -> None:
    assert discovery.known() == NAMES


def test_auto_takes_every_installed_one(monkeypatch) -> None:
    assert discovery.select(("auto",)) == NAMES
    lacking(monkeypatch, "httpx")
    assert not discovery.installed("httpx")
    assert discovery.select(("auto",)) == tuple(name for name in NAMES if name != "httpx")


def test_explicit_names_keep_the_order_of_the_table() -> None:
    assert discovery.select(("runtime", "fastapi", "runtime")) == ("fastapi", "runtime")
    assert discovery.select(()) == ()


def test_explicit_name_beside_auto_must_be_installed(monkeypatch) -> None:
    lacking(monkeypatch, "httpx")
    with pytest.raises(MissingDependencyError, match=r"'httpx' needs the package no-such.*otelbridge\[x\]"):
        discovery.select(("auto", "httpx"))


def test_unknown_name_suggests() -> None:
    with pytest.raises(ConfigError, match=r"Unknown instrumentation 'fastpai'\. Did you mean 'fastapi'"):
        discovery.select(("fastpai",))


def test_mere_string_is_refused() -> None:
    with pytest.raises(ConfigError, match="is a string"):
        discovery.select("auto")


def extras() -> dict[str, list[str]]:
    table = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    entries = re.findall(r"^([\w-]+) = (\[[^\n]*\]$|\[\n.*?^\])", table, re.MULTILINE | re.DOTALL)
    return {name: ast.literal_eval(packages) for name, packages in entries}


def test_every_instrumentation_has_its_extra() -> None:
    for name in discovery.known():
        instrumentation = discovery._KNOWN[name]
        needed = {need.distribution for need in instrumentation.needs}
        brought = {re.split(r"[\[<>=]", package)[0] for package in extras().get(instrumentation.extra, ())}
        # requests brings urllib3 itself
        assert needed - {"urllib3"} <= brought or name == "urllib3"
        assert bool(needed) == bool(instrumentation.extra)


def test_all_is_all() -> None:
    everything = {name for entry in extras()["all"] for name in re.findall(r"[\w-]+", entry.partition("[")[2])}
    without_code = {"console"}
    assert everything == set(extras()) - {"all"} - without_code
    code = "".join(path.read_text() for path in (ROOT / "otelbridge").rglob("*.py"))
    assert "import streamlit" not in code


@given(st.lists(st.one_of(st.sampled_from((*NAMES, "auto")), st.text(max_size=8))))
def test_select_gives_known_names_or_a_clear_error(names) -> None:
    unknown = set(names) - {*NAMES, "auto"}
    if unknown:
        with pytest.raises(ConfigError, match="Unknown instrumentation"):
            discovery.select(tuple(names))
    else:
        chosen = discovery.select(tuple(names))
        assert list(chosen) == [name for name in NAMES if name in chosen]
        assert set(chosen) >= set(names) - {"auto"}


def test_folder_of_a_packages_name_is_no_package(tmp_path, monkeypatch) -> None:
    (tmp_path / "some_folder_without_code").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not discovery.found("some_folder_without_code")


@pytest.mark.parametrize("module", ["no_such", "no_such.below", "json.no_such", "sys.below", ""])
def test_modules_that_are_not_there(module) -> None:
    assert not discovery.found(module)


def test_blocked_module_is_not_there(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert not discovery.found("psutil")


def test_looking_imports_nothing_heavy() -> None:
    script = (
        "import sys; from otelbridge.instrumentation import discovery; discovery.select(('auto',)); "
        "print([name for name in ('fastapi', 'starlette', 'sqlalchemy', 'psutil', 'httpx', 'httpx2', 'requests', "
        "'urllib3', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
