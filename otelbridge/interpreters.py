"""Which interpreter of the process this is: only the main one can hold what `init` starts.

A sub-interpreter may start no daemon threads and may not fork, its atexit hooks run at another time than those of the
process, and what several of them would share, such as hooks at forks, is not made for several.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from otelbridge.errors import ConfigError

# Of Python 3.13 and later, and of 3.8 to 3.12. There is no public name before `concurrent.interpreters` of 3.14.
_MODULES = ("_interpreters", "_xxsubinterpreters")


def refuse_subinterpreter() -> None:
    """Refuse to start in a sub-interpreter.

    Raises:
        ConfigError: This is one.
    """
    for name in _MODULES:
        with suppress(ImportError):
            interpreters: Any = import_module(name)
            if interpreters.get_current() == interpreters.get_main():
                return
            raise ConfigError(
                "otelbridge was started in a sub-interpreter, where Python allows it no threads and no forks",
                "Call init() in the main interpreter; under mod_wsgi that is 'WSGIApplicationGroup %{GLOBAL}'",
            )
