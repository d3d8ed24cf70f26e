import importlib
import importlib.util
import inspect
import sys
import threading
import warnings

import pytest

from otelbridge.diagnostics import forget_warnings
from otelbridge.instrumentation.imports import when_imported

SOURCE = "value = 1\n\n\ndef function():\n    return value\n"


@pytest.fixture
def name(tmp_path, monkeypatch):
    """A module that nobody has imported yet."""
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "awaited_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text(SOURCE)
    before = list(sys.meta_path)
    yield "awaited_package.part"
    assert sys.meta_path == before
    for each in ("awaited_package.part", "awaited_package"):
        sys.modules.pop(each, None)


def test_a_module_that_is_there_is_given_at_once():
    seen = []
    when_imported("threading", seen.append)
    assert seen == [threading]


def test_a_module_is_given_whole_right_after_it_was_executed(name):
    seen = []
    when_imported(name, lambda module: seen.append((module.__name__, module.value)))
    importlib.import_module("awaited_package")
    assert seen == []
    module = importlib.import_module(name)
    assert seen == [(name, 1)]
    importlib.import_module(name)
    assert len(seen) == 1
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert module.__spec__.loader is module.__loader__
    assert inspect.getsource(module.function).startswith("def function")


def test_two_may_wait_for_one_module(name):
    seen = []
    for number in (1, 2):
        when_imported(name, lambda module, number=number: seen.append(number))
    importlib.import_module(name)
    assert sorted(seen) == [1, 2]


def test_waiting_can_be_ended(name):
    seen = []
    when_imported(name, seen.append).close()
    importlib.import_module(name)
    assert seen == []


def test_an_exception_is_reported_and_leaves_the_import_alone(name, caplog):
    forget_warnings()
    when_imported(name, lambda module: module.nothing)
    assert importlib.import_module(name).value == 1
    (record,) = caplog.records
    assert name in record.getMessage()


def test_a_module_that_cannot_be_had_or_executed_is_not_given(name, tmp_path):
    seen = []
    waiting = [when_imported(each, seen.append) for each in ("awaited_package.nothing", name)]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("awaited_package.nothing")
    (tmp_path / "awaited_package" / "part.py").write_text("raise ValueError('on purpose')\n")
    with pytest.raises(ValueError, match="on purpose"):
        importlib.import_module(name)
    assert seen == []
    for each in waiting:
        each.close()


def test_until_then_its_loader_can_be_asked(name):
    waiting = when_imported(name, lambda module: None)
    loader = importlib.util.find_spec(name).loader
    assert loader.get_source(name) == SOURCE
    assert not loader.is_package(name)
    waiting.close()


class OfEarlierPythons:
    """As finders were before `find_spec`; Python passes them over, and libraries still bring some along."""

    def find_module(self, _name, _path=None):
        return None


def test_a_finder_that_finds_no_specs_is_passed_over(name, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "meta_path", [OfEarlierPythons(), *sys.meta_path])
    waiting = when_imported(name, seen.append)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # Python's own, at each import
        module = importlib.import_module(name)
    waiting.close()
    monkeypatch.undo()
    assert seen == [module]


class LoaderOfEarlierPythons:
    """As loaders were before `exec_module`."""

    def load_module(self, name):
        module = sys.modules[name] = type(sys)(name)
        module.__loader__ = self
        module.__file__ = "nowhere"
        return module


def test_a_loader_that_executes_no_modules_is_left_as_it_is(name, monkeypatch):
    class Finder:
        def find_spec(self, fullname, _path, _target=None):
            return importlib.machinery.ModuleSpec(fullname, LoaderOfEarlierPythons()) if fullname == name else None

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    waiting = when_imported(name, lambda module: None)
    spec = importlib.util.find_spec(name)
    waiting.close()
    monkeypatch.undo()
    assert type(spec.loader) is LoaderOfEarlierPythons


def test_a_module_that_another_thread_is_importing_is_awaited(name, tmp_path):
    begun, go_on, seen = threading.Event(), threading.Event(), []
    sys.modules["awaited_signals"] = type(sys)("awaited_signals")
    sys.modules["awaited_signals"].begun, sys.modules["awaited_signals"].go_on = begun, go_on
    (tmp_path / "awaited_package" / "part.py").write_text(
        "import awaited_signals as s\ns.begun.set()\ns.go_on.wait(60)\nvalue = 2\n"
    )
    importer = threading.Thread(target=importlib.import_module, args=[name])
    importer.start()
    assert begun.wait(60)
    waiter = threading.Thread(target=when_imported, args=[name, lambda module: seen.append(module.value)])
    waiter.start()
    go_on.set()
    importer.join()
    waiter.join()
    del sys.modules["awaited_signals"]
    assert seen == [2]
