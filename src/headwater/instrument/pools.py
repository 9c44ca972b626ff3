"""Context across thread pools and process pools: patched by `hw.configure`, put back by `hw.shutdown`, never touched at import.

    submit ──> task with the submitter's context ──> worker thread: attach · task · detach
    submit ──> task with the run as headers ──────> worker process: configure once · continue the run · task · leave; flushed when the worker ends

What goes into the pool is wrapped, what comes out is not: result and exception are the task's own objects. Where nothing is open and there is nothing
to configure, the task goes in as it is.

A `multiprocessing.Pool` left by its ``with`` block kills its workers, and what they had not sent yet is lost: call ``close()`` and ``join()``.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach, get_current

from headwater.instrument import isolate, live
from headwater.instrument.imports import watch
from headwater.instrument.record import Inert
from headwater.instrument.resume import enter_carried, headers
from headwater.instrument.tokens import read_carried

Method = Callable[..., Any]
_BAGGAGE: Final = W3CBaggagePropagator()
_CONTEXT: Final = "_headwater_context"
_POOL_METHODS: Final = ("apply_async", "map", "map_async", "starmap", "starmap_async", "imap", "imap_unordered")


class Settings(NamedTuple):
    """What a child process needs to send as its parent does: how to begin (None: the program has a provider of its own) and end, and whose child."""

    begin: Callable[[], object] | None
    end: Callable[[], object]
    parent_pid: int


class _Patched(NamedTuple):
    owner: type
    name: str
    original: Method
    ours: Method


class _State:
    settings: Settings | None = None  # None: not in force
    child_of: int = 0  # the process whose child was prepared here
    hooked = False  # multiprocessing tells us of its forks
    deafen: Callable[[], object] = staticmethod(lambda: None)  # stop hearing of imports
    patches: Final[list[_Patched]] = []


# -- what goes into a pool --------------------------------------------------------------------------------------------------------------------


class InThread:
    """A task with its submitter's context."""

    __slots__ = ("context", "task")

    def __init__(self, task: Method, context: Context) -> None:
        self.task = task
        self.context = context

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = attach(self.context)
        try:
            return self.task(*args, **kwargs)
        finally:
            detach(token)


class InProcess:
    """A task with its submitter's run as headers, and what its process needs to send."""

    __slots__ = ("headers", "settings", "task")

    def __init__(self, task: Method, carried: dict[str, str], settings: Settings) -> None:
        self.task = task
        self.headers = carried
        self.settings = settings

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        handle, token = Inert(), None
        with isolate.isolated("a task in a child process"):
            prepare_child(self.settings)
            token = attach(_BAGGAGE.extract(self.headers, get_current()))
            handle = enter_carried(read_carried(self.headers))
        try:
            return self.task(*args, **kwargs)
        finally:
            handle.leave()
            if token is not None:
                detach(token)


def for_thread(task: Method) -> Method:
    context = get_current()
    return InThread(task, context) if context and _State.settings is not None else task


def for_process(task: Method) -> Method:
    settings = _State.settings
    if settings is None or isinstance(task, InProcess):
        return task
    carried: dict[str, str] = {}
    if get_current():
        with isolate.isolated("carrying a run to a process"):
            _BAGGAGE.inject(carried)
            headers(carried)
    return InProcess(task, carried, settings) if carried or settings.begin is not None else task


def prepare_child(settings: Settings) -> None:
    """Once per child process: configure as the parent did, and flush before the process ends (multiprocessing runs no `atexit` there)."""
    if os.getpid() == settings.parent_pid or _State.child_of == os.getpid():
        return
    _State.child_of = os.getpid()
    if settings.begin is not None and not live.has_provider():
        settings.begin()
    from multiprocessing import util

    util.Finalize(None, settings.end, exitpriority=-100)  # after the program's own, whose stages may still speak


# -- patching -------------------------------------------------------------------------------------------------------------------------------


def carry(settings: Settings) -> None:
    """Patch the pools; again: only the settings change. Modules imported later are patched when they come."""
    first = _State.settings is None
    _State.settings = settings
    if not first:
        return
    from concurrent.futures.thread import ThreadPoolExecutor
    from multiprocessing import util

    _patch(ThreadPoolExecutor, "submit", _thread_submit)
    if not _State.hooked:
        util.register_after_fork(_after_fork, lambda forked: forked())
        _State.hooked = True
    for name in _MODULES:
        if name in sys.modules:
            _patch_module(sys.modules[name])
    _State.deafen = watch(_MODULES, _patch_module)


def uncarry() -> None:
    """Put the pools back as they were. Where somebody else has patched over us, ours passes everything through."""
    _State.settings = None
    _State.deafen()
    while _State.patches:
        patched = _State.patches.pop()
        if patched.owner.__dict__.get(patched.name) is patched.ours:
            setattr(patched.owner, patched.name, patched.original)


def _after_fork() -> None:
    """In a child that multiprocessing has forked: see `prepare_child`."""
    if _State.settings is not None:
        with isolate.isolated("after a fork"):
            prepare_child(_State.settings)


def _patch_module(module: Any) -> None:
    with isolate.isolated(f"patching {module.__name__}"):
        _MODULES[module.__name__](module)


def _patch(owner: type, name: str, make: Callable[[Method], Method]) -> None:
    original = owner.__dict__.get(name)
    if original is None or any(patched.owner is owner and patched.name == name for patched in _State.patches):
        return
    ours = functools.wraps(original)(make(original))
    setattr(owner, name, ours)
    _State.patches.append(_Patched(owner, name, original, ours))


def _patch_processes(module: Any) -> None:
    _patch(module.ProcessPoolExecutor, "submit", _process_submit)


def _patch_pool(module: Any) -> None:
    for name in _POOL_METHODS:
        _patch(module.Pool, name, functools.partial(_pool_method, module.ThreadPool))


def _patch_joblib(module: Any) -> None:
    _patch(module.Parallel, "__call__", _parallel_call)
    _patch(module.Parallel, "dispatch_one_batch", _parallel_dispatch)


_MODULES: Final[dict[str, Callable[[Any], None]]] = {
    "concurrent.futures.process": _patch_processes,
    "multiprocessing.pool": _patch_pool,
    "joblib.parallel": _patch_joblib,
    "joblib.externals.loky.process_executor": _patch_processes,
    "loky.process_executor": _patch_processes,
}


def _thread_submit(original: Method) -> Method:
    def submit(self: Any, fn: Method, /, *args: Any, **kwargs: Any) -> Any:
        if type(self).__name__ == "InterpreterPoolExecutor":  # a thread pool by descent, whose tasks are pickled
            return original(self, fn, *args, **kwargs)
        return original(self, for_thread(fn), *args, **kwargs)

    return submit


def _process_submit(original: Method) -> Method:
    def submit(self: Any, fn: Method, /, *args: Any, **kwargs: Any) -> Any:
        return original(self, for_process(fn), *args, **kwargs)

    return submit


def _pool_method(thread_pool: type, original: Method) -> Method:
    def method(self: Any, func: Method, *args: Any, **kwargs: Any) -> Any:
        return original(self, for_thread(func) if isinstance(self, thread_pool) else for_process(func), *args, **kwargs)

    return method


def _parallel_call(original: Method) -> Method:
    """What joblib hands to the pool mostly comes from a callback's thread: the caller's context is kept for it."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        setattr(self, _CONTEXT, get_current() if _State.settings is not None else None)
        return original(self, *args, **kwargs)

    return call


def _parallel_dispatch(original: Method) -> Method:
    def dispatch_one_batch(self: Any, *args: Any, **kwargs: Any) -> Any:
        context = getattr(self, _CONTEXT, None)
        return original(self, *args, **kwargs) if context is None else InThread(original, context)(self, *args, **kwargs)

    return dispatch_one_batch
