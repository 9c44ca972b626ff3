"""`hw.stage`: the decorator, the block, and the way to the stage that is open."""

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, Unpack, overload

from headwater.instrument.opening import current_handle, open_stage
from headwater.instrument.record import Inert
from headwater.instrument.spec import Spec, StageOptions, stage_spec
from headwater.instrument.wrap import inner_function, wrap

CallableT = TypeVar("CallableT", bound=Callable[..., Any])


class StageBlock:
    """``with hw.stage.span("gate") as st:``, also ``async with``. Each entry is one execution."""

    __slots__ = ("_handle", "_spec")

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._handle: Inert | None = None

    def __enter__(self) -> Inert:
        self._handle = open_stage(self._spec, (), {}) or Inert(run=current_handle().run)
        return self._handle

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close() if error is None else handle.fail(error)

    async def __aenter__(self) -> Inert:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)


class StageFace:
    """The one object behind `hw.stage`."""

    @overload
    def __call__(self, name: CallableT, /) -> CallableT: ...
    @overload
    def __call__(self, name: str | None = None, /, **options: Unpack[StageOptions]) -> Callable[[CallableT], CallableT]: ...

    def __call__(self, name: Any = None, /, **options: Unpack[StageOptions]) -> Any:
        """Make each call of a function one span of a stage.

        ``@hw.stage``, ``@hw.stage("asr", model="whisper@1.2.3", confidence="conf", quality={"oov": hw.own(oov_share)})``. The name defaults to
        the function's qualified name. Keywords: `StageOptions`. Works on functions, coroutine functions, generators, async generators,
        methods, classmethods and staticmethods (above or below), partials and callable objects; the result is a plain function of the same kind.
        Raises TypeError or ValueError at decoration for a target, keyword or reader that cannot be; a call raises what the function raises.
        """
        if name is not None and not isinstance(name, str):
            return _decorate(name, None, {})

        def decorator(target: Any) -> Any:
            return _decorate(target, name, options)

        return decorator

    def span(self, name: str, **options: Unpack[StageOptions]) -> StageBlock:
        """A stage that is a block: ``with hw.stage.span("gate", version="3") as st: st.confidence(0.8)``. Readers need a call and do not apply:
        say the figures by hand; the version is what is given, for there is no code to digest.
        """
        return StageBlock(stage_spec(name, options))

    def current(self) -> Inert:
        """The handle of the innermost open stage or run; where there is none, or it does not record, one that takes every call and keeps nothing."""
        return current_handle()


def _decorate(target: Any, name: str | None, options: StageOptions) -> Any:
    function = inner_function(target)
    plain = function.func if isinstance(function, partial) else function
    qualname = str(getattr(plain, "__qualname__", type(plain).__qualname__))
    spec = stage_spec(name or qualname.rpartition("<locals>.")[2], options, function=function)
    return wrap(target, partial(open_stage, spec))


stage = StageFace()
