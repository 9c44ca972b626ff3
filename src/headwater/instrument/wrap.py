"""The one kernel: a wrapper per kind of callable, each a plain function of the very same kind.

Closures with `functools.wraps`, no object in between: `inspect` sees what it saw before, pickle finds the function by its name, and cloudpickle
takes the closure along, tracing included, because nothing in it but the prepared spec is captured.
"""

import functools
import inspect
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Final, TypeVar, cast

from headwater.faults.planning import IN_FORCE
from headwater.instrument.protect import is_guarded, protected
from headwater.instrument.record import Inert

DecoratedT = TypeVar("DecoratedT", bound=Callable[..., Any])
_CACHE_FACE: Final = ("cache_info", "cache_clear", "cache_parameters")  # of functools.lru_cache, which keeps them off __dict__
_LATER: Final = frozenset({types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType})


# Opens one call, given its args and kwargs; None: nothing records, call the function as it is. Must be picklable: a partial over a `Spec`.
Opening = Callable[[tuple[Any, ...], dict[str, Any]], Inert | None]


def inner_function(target: Any) -> Callable[..., Any]:
    """The function inside a classmethod or staticmethod, the target itself otherwise. Raises TypeError for what cannot be a stage."""
    if isinstance(target, (classmethod, staticmethod)):
        return cast("Callable[..., Any]", target.__func__)
    if isinstance(target, property):
        message = "found a property; allowed: functions, coroutines, generators, methods, callable objects. Put the decorator below @property"
        raise TypeError(message)
    if isinstance(target, type):
        message = (
            f"found the class {target.__qualname__}; allowed: functions, coroutines, generators, methods, callable objects. Decorate its methods"
        )
        raise TypeError(message)
    if not callable(target):
        message = f"found {type(target).__name__}; allowed: functions, coroutines, generators, methods, callable objects"
        raise TypeError(message)
    return cast("Callable[..., Any]", target)


def wrap(target: DecoratedT, opening: Opening) -> DecoratedT:
    """`target` with each call opened by `opening`; a plain function of the same kind (classmethod and staticmethod objects stay such)."""
    function = inner_function(target)
    wrapper = _maker(function)(function, opening)
    for name in _CACHE_FACE:
        if hasattr(function, name) and not hasattr(wrapper, name):
            setattr(wrapper, name, getattr(function, name))
    if isinstance(target, (classmethod, staticmethod)):
        return cast("DecoratedT", type(target)(wrapper))
    return cast("DecoratedT", wrapper)


def _maker(function: Callable[..., Any]) -> Callable[[Callable[..., Any], Opening], Callable[..., Any]]:
    call = function
    if not inspect.isroutine(function) and not isinstance(function, functools.partial):
        call = type(function).__call__  # a callable object is of the kind of its __call__
    if inspect.isasyncgenfunction(call):
        return _async_generator
    if inspect.iscoroutinefunction(call):
        return _coroutine
    return _generator if inspect.isgeneratorfunction(call) else _plain


def _open(opening: Opening, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inert | None:
    return opening(args, kwargs)


def _told(opening: Opening) -> object:
    """The spec a stage's opening was made with; the opening itself for a run."""
    return opening.args[0] if isinstance(opening, functools.partial) and opening.args else opening


def _plain(function: Callable[..., Any], opening: Opening) -> Callable[..., Any]:
    # A partial is taken apart: calling through it would be a third of the cost of a stage that records nothing.
    direct = isinstance(opening, functools.partial) and len(opening.args) == 1 and not opening.keywords
    begin, told = (opening.func, opening.args[0]) if direct else (_open, opening)  # type: ignore[attr-defined]  # a partial, see above
    guarded = is_guarded(told)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        handle = begin(told, args, kwargs)
        if handle is None:
            if IN_FORCE or guarded:
                return protected(function, told, None)(*args, **kwargs)
            return function(*args, **kwargs) if kwargs else function(*args)  # an empty ** would cost a dictionary
        try:
            call = protected(function, told, handle) if IN_FORCE or guarded else function
            result = call(*args, **kwargs) if kwargs else call(*args)
        except BaseException as error:
            handle.fail(error)
            raise
        if type(result) in _LATER:
            return go_on(handle, result)
        handle.close(result)
        return result

    return wrapper


def _coroutine(function: Callable[..., Any], opening: Opening) -> Callable[..., Any]:
    told = _told(opening)
    guarded = is_guarded(told)

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        handle = opening(args, kwargs)
        call = protected(function, told, handle) if IN_FORCE or guarded else function
        if handle is None:
            return await call(*args, **kwargs)
        try:
            result = await timed(handle, call(*args, **kwargs))
        except BaseException as error:
            handle.fail(error)
            raise
        handle.close(result)
        return result

    return wrapper


def _generator(function: Callable[..., Any], opening: Opening) -> Callable[..., Any]:
    told = _told(opening)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        body = function(*args, **kwargs)  # binds the arguments, runs nothing: a wrong call raises before there is a span
        handle = opening(args, kwargs)
        if IN_FORCE:
            body = protected(function, told, handle)(*args, **kwargs)
        if handle is None:
            return (yield from body)
        handle.stream()
        return (yield from iterate(handle, body))

    return wrapper


def _async_generator(function: Callable[..., Any], opening: Opening) -> Callable[..., Any]:
    told = _told(opening)

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        # An async generator has no `yield from`: the consumer's asend, athrow and aclose are handed to the body one by one, traced or not.
        body = function(*args, **kwargs)
        handle = opening(args, kwargs) or Inert()
        if IN_FORCE:
            body = protected(function, told, handle)(*args, **kwargs)
        handle.stream()
        step: Awaitable[Any] = body.__anext__()
        while True:
            handle.resume()
            try:
                item = await timed(handle, step)
            except StopAsyncIteration:
                handle.close(None)
                return
            except BaseException as error:
                handle.fail(error)
                raise
            handle.item()
            try:
                sent = yield item
            except GeneratorExit as abandoned:
                await _aclose(handle, body, abandoned)
                raise
            except BaseException as error:  # noqa: BLE001  whatever the consumer throws belongs to the body
                step = body.athrow(error)
            else:
                step = body.asend(sent)

    return wrapper


async def _aclose(handle: Inert, body: AsyncGenerator[Any, Any], abandoned: GeneratorExit) -> None:
    handle.resume()
    try:
        await body.aclose()
    except BaseException as error:
        handle.fail(error)
        raise
    handle.fail(abandoned)


def iterate(handle: Inert, body: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Drive `body` step by step, the context ours inside each step and the consumer's between them.

    send, throw and the return value reach the body as in PEP 380. Closed before its end: outcome ``abandoned``, status unset.
    """
    advance: Callable[[], Any] = functools.partial(next, body)
    while True:
        handle.resume()
        try:
            item = advance()
        except StopIteration as stop:
            handle.close(stop.value)
            return stop.value
        except BaseException as error:
            handle.fail(error)
            raise
        handle.item()
        try:
            sent = yield item
        except GeneratorExit as abandoned:
            _close(handle, body, abandoned)
            raise
        except BaseException as error:  # noqa: BLE001  whatever the consumer throws belongs to the body
            advance = functools.partial(body.throw, error)
        else:
            advance = functools.partial(next, body) if sent is None else functools.partial(body.send, sent)


def _close(handle: Inert, body: Generator[Any, Any, Any], abandoned: GeneratorExit) -> None:
    handle.resume()
    try:
        body.close()
    except BaseException as error:
        handle.fail(error)
        raise
    handle.fail(abandoned)


def go_on(handle: Inert, later: Any) -> Any:
    """A plain function returned a generator, coroutine or async generator: the span covers its run, and only here the returned object is ours."""
    if isinstance(later, types.GeneratorType):
        handle.stream()
        return iterate(handle, later)
    handle.stop_cpu()
    handle.leave()
    make = _async_generator if isinstance(later, types.AsyncGeneratorType) else _coroutine

    def reopen(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inert:  # noqa: ARG001  an Opening
        handle.resume()
        return handle

    return make(lambda: later, reopen)()


def timed(handle: Inert, awaitable: Awaitable[Any]) -> Awaitable[Any]:
    """`awaitable`, its CPU time taken step by step where asked for: between two steps the thread works for other tasks."""
    return _Stepped(handle, awaitable) if handle.cpu else awaitable


class _Stepped:
    __slots__ = ("awaitable", "handle")

    def __init__(self, handle: Inert, awaitable: Awaitable[Any]) -> None:
        self.handle = handle
        self.awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        inner: Any = self.awaitable.__await__()
        advance: Callable[[], Any] = functools.partial(next, inner)
        while True:
            self.handle.start_cpu()
            try:
                item = advance()
            except StopIteration as stop:
                return stop.value
            finally:
                self.handle.stop_cpu()
            try:
                sent = yield item
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as error:  # noqa: BLE001  cancellation and the like belong to the inner awaitable
                advance = functools.partial(inner.throw, error)
            else:
                advance = functools.partial(next, inner) if sent is None else functools.partial(inner.send, sent)
