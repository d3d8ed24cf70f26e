"""What a forked child must not inherit: locks that another thread of its parent holds, threads, descriptors.

All locks and events of the package are made here, and whatever owns a thread or a descriptor registers here. One hook
renews them in the child, whether the child was forked by Python or by uWSGI, whose fork Python does not hear of.
"""

from __future__ import annotations

import _frozen_importlib
import _thread
import concurrent.futures.thread
import logging
import os
import sys
import threading
import weakref
from functools import partial
from types import MethodType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    Hook = Callable[[], object]
    Hooks = dict[Any, Callable[..., object]]
    """Functions by themselves, and those of methods by a weak reference to the object."""

T = TypeVar("T")


class Lock(_thread.RLock):  # pyright: ignore[reportGeneralTypeIssues]  # final for the stubs alone
    """A reentrant lock that neither a fork nor the end of the interpreter leaves locked for ever.

    Reentrant, since a signal handler or a finalizer may record at any point, also while its own thread has the lock.
    """

    __slots__ = ()

    # A property, since what `with` calls is then the method written in C: an exception that a signal handler raises
    # comes before the lock is taken or inside the block, and never between the two.
    @property
    def __enter__(self) -> Any:
        """What takes the lock."""
        if sys.is_finalizing():
            _renew(self)  # daemon threads are frozen then, with whatever they hold
        return super().__enter__


_PACKAGE = __name__.partition(".")[0]

_RENEWABLE: Any = (Lock, type(threading.Lock()), threading.Event)

_pid = os.getpid()
_inherited: set[weakref.ref[Any]] = set()
_before: Hooks = {}
_after_in_parent: Hooks = {}
_after_in_child: Hooks = {}


def lock() -> threading.RLock:
    """Make a reentrant lock.

    Returns:
        The lock; where gevent has replaced the locks of `threading`, one that keeps greenlets apart.
    """
    made: Any = threading.RLock()
    return adopt(Lock() if isinstance(made, _thread.RLock) else made)


def event() -> threading.Event:
    """Make an event. In a forked child it is set if it was set in the parent."""
    return adopt(threading.Event())


def adopt(made: T) -> T:
    """Renew a lock or an event that was made elsewhere, such as in the SDK, in every forked child.

    Args:
        made: It is not kept alive.

    Returns:
        The same.
    """
    _inherited.add(weakref.ref(made, _inherited.discard))
    return made


def is_adopted(made: object) -> bool:
    """Tell whether a lock or an event is renewed in a forked child."""
    return weakref.ref(made) in _inherited


def owns(made: object) -> bool:
    """Tell whether this thread holds a lock made by `lock`."""
    owned: Callable[[], bool] | None = getattr(made, "_is_owned", None)
    return owned is not None and owned()


def holding() -> bool:
    """Tell whether this thread holds any lock made by `lock`."""
    return any(owns(reference()) for reference in list(_inherited))


def register(
    *, before: Hook | None = None, after_in_parent: Hook | None = None, after_in_child: Hook | None = None
) -> None:
    """Have functions called around each fork, as by `os.register_at_fork`.

    Those of the child find the locks renewed. An exception is reported as Python reports those of its own hooks, and
    keeps neither the others nor the fork from going on. A method does not keep its object alive.

    Args:
        before: Called in the parent before the fork; those registered last come first.
        after_in_parent: Called in the parent afterwards.
        after_in_child: Called in the child, in its only thread.
    """
    _follow_uwsgi()
    for hooks, hook in ((_before, before), (_after_in_parent, after_in_parent), (_after_in_child, after_in_child)):
        if hook is not None:
            owner = hook.__self__ if isinstance(hook, MethodType) else None
            hooks[hook if owner is None else weakref.ref(owner, hooks.pop)] = getattr(hook, "__func__", hook)


def notice() -> None:
    """Renew everything if this process was forked, for instance by a library written in C, and no hook has told."""
    if os.getpid() != _pid:
        _begin_child()


def _renew(made: Any) -> None:
    # What this very thread holds it releases itself, and so do greenlets, which go on in a child.
    if isinstance(made, _RENEWABLE) and not owns(made):
        made._at_fork_reinit()


def _begin_child() -> None:
    global _pid
    _pid = os.getpid()
    for reference in list(_inherited):
        _renew(reference())
    _forget_half_imported()
    _call(_after_in_child)


def _call(hooks: Hooks, order: int = 1) -> None:
    for key in list(hooks)[::order]:
        function = hooks.get(key)
        owner = cast("weakref.ref[Any]", key)() if isinstance(key, weakref.ref) else None
        try:
            if function is not None and owner is not None:
                function(owner)
            elif function is not None and function is key:
                function()
        except BaseException as error:
            trace = error.__traceback__
            told: Any = SimpleNamespace(
                exc_type=type(error), exc_value=error, exc_traceback=trace, err_msg=None, object=function
            )
            sys.unraisablehook(told)


def _forget_half_imported() -> None:
    """Let modules of ours be imported anew that another thread of the parent was importing: it never ends that here."""
    # The locks of modules that are being imported, which the import system keeps to itself.
    locks: dict[str, Callable[[], Any]] = getattr(_frozen_importlib, "_module_locks", {})
    for name, reference in list(locks.items()):
        owner = getattr(reference(), "owner", None)
        if name.partition(".")[0] != _PACKAGE or owner in (None, threading.get_ident()):
            continue
        locks.pop(name, None)
        if getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False):
            sys.modules.pop(name, None)


def _follow_uwsgi() -> None:
    """Have `notice` called in every process that uWSGI forks off, also after `uwsgidecorators` has replaced the hook.

    uWSGI calls Python's own hooks only with ``py-call-osafterfork`` or ``py-call-uwsgi-fork-hooks``; they then come
    first, and ours finds nothing to do.
    """
    # An application may have a module of the same name.
    uwsgi: Any = sys.modules.get("uwsgi")
    if not hasattr(uwsgi, "masterpid"):
        return
    decorators: Any = sys.modules.get("uwsgidecorators")
    if decorators is not None:
        if notice not in decorators.postfork_chain:
            decorators.postfork_chain.append(notice)
        return
    earlier: Any = getattr(uwsgi, "post_fork_hook", None)
    if not (isinstance(earlier, partial) and earlier.func is _notice_after):
        uwsgi.post_fork_hook = partial(_notice_after, earlier)


def _notice_after(earlier: Hook | None) -> None:
    try:
        if earlier is not None:
            earlier()
    finally:
        notice()


# These free their locks in a child by hooks of their own, which come before ours if they are registered before.
_LOADED = (logging, concurrent.futures.thread)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _call(_before, -1),
        after_in_parent=lambda: _call(_after_in_parent),
        after_in_child=_begin_child,
    )
