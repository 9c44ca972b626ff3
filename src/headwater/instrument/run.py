"""`hw.run` and `@hw.pipeline`: one item's way through a pipeline, its root span, and what flows from it to the stages."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypedDict, TypeVar, Unpack

from headwater.conventions.attributes import CANARY, DIFFICULTY, PIPELINE_NAME, PIPELINE_VERSION, ROUTE, SESSION_ID
from headwater.instrument import isolate
from headwater.instrument.extract import Extractor, as_number, finite
from headwater.instrument.opening import open_run
from headwater.instrument.record import Inert
from headwater.instrument.spec import Spec
from headwater.instrument.text import clean, safe_str, scalar
from headwater.instrument.values import Attributes
from headwater.instrument.wrap import inner_function, wrap

CallableT = TypeVar("CallableT", bound=Callable[..., Any])


class RunOptions(TypedDict, total=False):
    """The keywords of `hw.run` and `hw.pipeline`. In `hw.pipeline`, `run_id`, `route`, `session_id` and the values of `difficulty` may be
    callables: they get the run's input, the first argument after ``self``.
    """

    run_id: Any  # business key; default: the trace id
    difficulty: Mapping[str, Any]  # figures of the input as a whole
    route: Any
    version: str  # of the pipeline
    session_id: Any  # cluster of runs
    canary: bool  # a known-answer run
    attributes: Mapping[str, Any]


class RunBlock:
    """``with hw.run("speech", run_id="order-17") as run:``, also ``async with``. `run.run_id`, `run.token`, and the setters of a stage handle."""

    __slots__ = ("_handle", "_name", "_options")

    def __init__(self, name: str, options: RunOptions) -> None:
        self._name = name
        self._options = options
        self._handle: Inert | None = None

    def __enter__(self) -> Inert:
        self._handle = start_run(self._name, self._options)
        return self._handle

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close() if error is None else handle.fail(error)

    async def __aenter__(self) -> Inert:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)


def run(name: str, **options: Unpack[RunOptions]) -> RunBlock:
    """One run of the pipeline `name`: the block is its root span (a child, if a span is current: a web server's request, an outer run).

    Run id, pipeline name and version, route and canary flow to every stage below by context; `difficulty`, `session_id` and `attributes` stay
    on the root. Raises TypeError for an unknown keyword.
    """
    _check(name, options)
    return RunBlock(name, options)


def pipeline(name: str, **options: Unpack[RunOptions]) -> Callable[[CallableT], CallableT]:
    """Make each call of a function one run: ``@hw.pipeline("speech", run_id=lambda utterance: utterance.id)``. Works on what `hw.stage` works on."""
    _check(name, options)

    def decorator(target: CallableT) -> CallableT:
        return wrap(target, RunOpener(name, options, inner_function(target)).open)

    return decorator


class RunOpener:
    """Opens one call of a decorated pipeline."""

    __slots__ = ("_fixed", "_name", "_read", "_read_difficulty", "_shape")

    def __init__(self, name: str, options: RunOptions, function: Callable[..., Any]) -> None:
        self._name = name
        self._shape = Spec(name)
        self._shape.know_parameters(function)
        self._read = {key: Extractor(value, what=f"{name} {key}") for key, value in options.items() if callable(value)}
        given = options.get("difficulty", {})
        self._read_difficulty = {key: Extractor(value, what=f"{name} difficulty {key}") for key, value in given.items() if callable(value)}
        self._fixed: dict[str, Any] = {key: value for key, value in options.items() if key not in self._read}

    def open(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inert:
        options = dict(self._fixed)
        if self._read or self._read_difficulty:
            _, subject = self._shape.subject(args, kwargs)
            options.update((key, extractor.raw(subject)) for key, extractor in self._read.items())
            read = {key: extractor.raw(subject) for key, extractor in self._read_difficulty.items()}
            options["difficulty"] = {**options.get("difficulty", {}), **read}
        return start_run(self._name, options)  # type: ignore[arg-type]  # the keys were checked at decoration


def start_run(name: str, options: RunOptions) -> Inert:
    """Open the root span; whatever is wrong with a value is counted and left out, the run goes on."""
    spec = Spec(name)
    flows: Attributes = {PIPELINE_NAME.name: spec.span_name}
    with isolate.isolated("opening a run"):
        for key, value in options.get("attributes", {}).items():
            spec.static[clean(str(key))] = scalar(value)
    for key, attribute, target in (("version", PIPELINE_VERSION, flows), ("route", ROUTE, flows), ("session_id", SESSION_ID, spec.static)):
        value = options.get(key)
        if value is not None:
            target[attribute.name] = clean(safe_str(value))
    if options.get("canary"):
        flows[CANARY.name] = True
    for metric, value in options.get("difficulty", {}).items():
        with isolate.isolated(f"not a number: {DIFFICULTY.of(str(metric))}"):
            number = finite(as_number(value), what=DIFFICULTY.of(str(metric)))
            if number is not None:
                spec.static[clean(DIFFICULTY.of(str(metric)))] = number
    run_id = options.get("run_id")
    return open_run(spec, None if run_id is None else safe_str(run_id), flows)


def _check(name: object, options: RunOptions) -> None:
    if not isinstance(name, str) or not name:
        message = f"found {name!r}; allowed: the pipeline's name, a text. Write hw.run('speech') or @hw.pipeline('speech')"
        raise TypeError(message)
    unknown = sorted(set(options) - set(RunOptions.__annotations__))
    if unknown:
        message = f"pipeline {name!r}: unknown keyword {unknown[0]!r}; allowed: {', '.join(sorted(RunOptions.__annotations__))}"
        raise TypeError(message)
