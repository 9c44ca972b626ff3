"""What a decorated stage was told, prepared once, so that a call does as little as possible."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypedDict, cast

from headwater.conventions.attributes import (
    BLOCKING,
    CODE_FUNCTION_NAME,
    CONFIG_DIGEST,
    DATA_VERSION,
    FINAL,
    INPUT_SIZE,
    MODEL_NAME,
    MODEL_VERSION,
    OUTPUT_SIZE,
    PIPELINE_NAME,
    STAGE_NAME,
    STAGE_TYPE,
    STAGE_VERSION,
)
from headwater.instrument.batch import Readings
from headwater.instrument.digest import code_digest, config_digest
from headwater.instrument.extract import Extractor, Reader, Role, finite, quality_reader
from headwater.instrument.relations import Relations, prepare
from headwater.instrument.text import clean, scalar
from headwater.instrument.values import CONFIDENCE_KINDS, STAGE_TYPES, Attributes, confidence_attributes, one_of, split_model

Given = str | Callable[..., Any]


class StageOptions(TypedDict, total=False):
    """The keywords of `hw.stage` and `hw.stage.span`.

    *Readers* (`confidence`, `quality`, `output_size`) get the stage's result; `input_size` and `hw.difficulty(...)` get its input: the first
    argument, after ``self``. *Givens* (`model`, `version`, `data_version`, `config`) are fixed values or callables evaluated at each call,
    before it; a callable gets ``self`` (or ``cls``) if the stage is a method, and nothing otherwise.
    """

    type: str  # model, rule, retrieval, io, human or qc
    model: Given  # "name@version"
    version: Given  # default: a digest of the code
    data_version: Given
    config: Any  # any value, digested together with the code; a callable is called
    confidence: Reader
    confidence_kind: str  # prob, margin, entropy, logprob or self_report
    quality: Mapping[str, Reader | Role[Any]]
    input_size: Reader
    output_size: Reader
    cpu: bool  # record thread CPU time
    final: bool  # this stage gives the pipeline's answer
    pipeline: str  # default: the run's pipeline, else the service's name
    blocking: bool  # did the parent wait for it?
    fallback: Callable[..., Any]  # called with the same arguments where the stage raised
    breaker: Any  # hw.breaker(...)
    attributes: Mapping[str, Any]  # further attributes, the same at each call
    batch: str  # name of the parameter that holds a batch's items; every reader then reads one item
    item_token: Reader  # where an item has its token; default: the key or attribute ``headwater_token``
    upstream: str | Sequence[str]  # the stages whose outputs this one takes, where identity cannot tell
    digest: bool  # digest input and output, and link by content
    retries: bool  # a call with the input of one that failed under the same run or stage is its next attempt
    memory: bool | int  # resident memory, every 100th call or every nth


class Spec:
    """One prepared stage or run.

    `static`: attributes equal at each call. `last`: those that win over the run's. `givens`: (wire name, extractor) evaluated before the
    call on ``self``. `inputs`: the same on the input. `outputs`: on the result.
    """

    __slots__ = (
        "breaker",
        "code",
        "confidence",
        "confidence_kind",
        "cpu",
        "fallback",
        "figures",
        "first_name",
        "givens",
        "inputs",
        "last",
        "method",
        "outputs",
        "reads_after",
        "reads_before",
        "relations",
        "span_name",
        "static",
    )

    def __init__(self, span_name: str) -> None:
        self.span_name = clean(span_name)
        self.static: Attributes = {}
        self.last: Attributes = {}
        self.givens: list[tuple[str, Extractor]] = []
        self.inputs: list[tuple[str, Extractor]] = []
        self.outputs: list[tuple[str, Extractor]] = []
        self.confidence: Extractor | None = None
        self.confidence_kind: str | None = None
        self.cpu = False
        self.method = False
        self.first_name = ""
        self.code = ""
        self.fallback: Callable[..., Any] | None = None
        self.breaker: Any = None
        self.figures: tuple[str, ...] | None = None  # quality and own figures its readers write; None: no stage
        self.reads_before = False
        self.reads_after = False
        self.relations: Relations | None = None

    def know_parameters(self, function: Callable[..., Any]) -> None:
        """Is it a method (first parameter ``self`` or ``cls``), and what is its input called? Bound methods have lost their self already."""
        code = getattr(inspect.unwrap(function), "__code__", None)
        names: tuple[str, ...] = code.co_varnames[: code.co_argcount] if code is not None else ()
        owned = bool(names) and names[0] in _METHOD_NAMES
        self.method = owned and not inspect.ismethod(function)
        rest = names[1:] if owned else names
        self.first_name = rest[0] if rest else ""

    def ready(self) -> "Spec":
        self.reads_before = bool(self.givens or self.inputs)
        self.reads_after = bool(self.outputs or self.confidence)
        if self.figures is not None:
            self.figures = tuple(name for name, _ in self.outputs if name != OUTPUT_SIZE.name)
        return self

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attributes:
        """What is known before the call: givens in force, difficulty and size of the input. A call without arguments has no input."""
        found: Attributes = {}
        for name, given in self.givens:
            self._given(name, given.raw(args[0] if self.method and args else None), found)
        if self.inputs:
            known, subject = self.subject(args, kwargs)
            for name, extractor in self.inputs if known else ():
                value = finite(extractor.number(subject), what=name)
                if value is not None:
                    found[name] = value
        return found

    def subject(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
        """(is there one?, the input): the first positional argument after ``self``, else the first parameter given by its name."""
        position = 1 if self.method else 0
        if len(args) > position:
            return True, args[position]
        if self.first_name in kwargs:
            return True, kwargs[self.first_name]
        return False, None

    def after(self, result: Any, attributes: Attributes) -> None:
        """Read the result into `attributes`. Raises only what `isolate` lets through (under pytest)."""
        if self.confidence is not None:
            attributes.update(confidence_attributes(self.confidence.number(result), self.confidence_kind, what=self.span_name))
        for name, extractor in self.outputs:
            value = finite(extractor.number(result), what=name)
            if value is not None:
                attributes[name] = value

    def _given(self, name: str, value: Any, found: Attributes) -> None:
        if name == CONFIG_DIGEST.name:
            found[name] = config_digest(value, code=self.code)
        elif value is None:
            return
        elif name == MODEL_NAME.name:
            found.update(model_attributes(str(value)))
        else:
            found[name] = clean(str(value))


class _Given:
    """A callable given: called with ``self`` if the stage is a method, with nothing otherwise."""

    __slots__ = ("call", "method")

    def __init__(self, call: Callable[..., Any], *, method: bool) -> None:
        self.call = call
        self.method = method

    def __call__(self, owner: Any) -> Any:
        return self.call(owner) if self.method else self.call()


_OPTIONS: Final = frozenset(StageOptions.__annotations__)
_METHOD_NAMES: Final = ("self", "cls")


def stage_spec(name: str, options: StageOptions, *, function: Callable[..., Any] | None = None) -> Spec:
    """Prepare a stage. Raises TypeError for an unknown keyword or a reader that is none, ValueError for an unknown type or kind: at decoration,
    where the author sees it, never at a call.
    """
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        message = f"stage {name!r}: unknown keyword {unknown[0]!r}; allowed: {', '.join(sorted(_OPTIONS))}"
        raise TypeError(message)
    spec = Spec(name)
    spec.figures = ()
    spec.static[STAGE_NAME.name] = spec.span_name
    if function is not None:
        _know_function(spec, function)
    for key, value in options.get("attributes", {}).items():
        spec.static[clean(str(key))] = scalar(value)
    for flag, attribute in (("final", FINAL), ("blocking", BLOCKING)):
        if flag in options:
            spec.static[attribute.name] = bool(cast("dict[str, Any]", options)[flag])
    if "type" in options:
        spec.static[STAGE_TYPE.name] = one_of(options["type"], STAGE_TYPES, what="stage type")
    if "pipeline" in options:
        spec.last[PIPELINE_NAME.name] = clean(options["pipeline"])
    spec.cpu = bool(options.get("cpu", False))
    _know_protection(spec, options, function)
    _know_versions(spec, options)
    _know_readers(spec, options)
    spec.relations = prepare(options, function, name=spec.span_name)
    if spec.relations is not None and spec.relations.batch is not None:
        _read_items(spec, spec.relations.batch.readings)
    return spec.ready()


def _know_protection(spec: Spec, options: StageOptions, function: Callable[..., Any] | None) -> None:
    fallback, breaker = options.get("fallback"), options.get("breaker")
    if fallback is None and breaker is None:
        return
    if function is None or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        message = f"stage {spec.span_name!r}: fallback and breaker need a function or coroutine function; a block or a stream has no call to replace"
        raise TypeError(message)
    if fallback is not None and not callable(fallback):
        message = f"stage {spec.span_name!r}: fallback={fallback!r}; allowed: a callable that takes the stage's arguments"
        raise TypeError(message)
    if breaker is not None and not hasattr(breaker, "step"):
        message = f"stage {spec.span_name!r}: breaker={breaker!r}; allowed: what hw.breaker(...) gives"
        raise TypeError(message)
    spec.fallback, spec.breaker = fallback, breaker


def model_attributes(model: str) -> Attributes:
    name, version = split_model(model)
    found: Attributes = {MODEL_NAME.name: clean(name)}
    if version:
        found[MODEL_VERSION.name] = clean(version)
    return found


def _know_function(spec: Spec, function: Callable[..., Any]) -> None:
    inner = getattr(function, "__func__", function)
    qualname = getattr(inner, "__qualname__", type(inner).__qualname__)
    spec.static[CODE_FUNCTION_NAME.name] = clean(f"{getattr(inner, '__module__', None) or '?'}.{qualname}")
    spec.code = code_digest(function)
    spec.static[STAGE_VERSION.name] = spec.code
    spec.know_parameters(function)


def _read_items(spec: Spec, readings: Readings) -> None:
    """The readers of a batch stage read its items, not the batch."""
    readings.confidence, readings.kind, readings.inputs, readings.outputs = spec.confidence, spec.confidence_kind, spec.inputs, spec.outputs
    spec.confidence, spec.inputs, spec.outputs = None, [], []


def _know_versions(spec: Spec, options: StageOptions) -> None:
    for key, attribute in (("version", STAGE_VERSION), ("data_version", DATA_VERSION), ("model", MODEL_NAME)):
        given = cast("dict[str, Any]", options).get(key)
        if given is None:
            continue
        if callable(given):
            spec.givens.append((attribute.name, Extractor(_Given(given, method=spec.method), what=f"{spec.span_name} {key}")))
        elif attribute is MODEL_NAME:
            spec.static.update(model_attributes(str(given)))
        else:
            spec.static[attribute.name] = clean(str(given))
    if "config" in options:
        config = options["config"]
        if callable(config) and not isinstance(config, type):
            spec.givens.append((CONFIG_DIGEST.name, Extractor(_Given(config, method=spec.method), what=f"{spec.span_name} config")))
        else:
            spec.static[CONFIG_DIGEST.name] = config_digest(config, code=spec.code)


def _know_readers(spec: Spec, options: StageOptions) -> None:
    if "confidence_kind" in options:
        spec.confidence_kind = one_of(options["confidence_kind"], CONFIDENCE_KINDS, what="confidence kind")
    if "confidence" in options:
        spec.confidence = Extractor(options["confidence"], what=f"{spec.span_name} confidence")
    for metric, declared in options.get("quality", {}).items():
        name, of_input, extractor = quality_reader(metric, declared)
        (spec.inputs if of_input else spec.outputs).append((clean(name), extractor))
    if "input_size" in options:
        spec.inputs.append((INPUT_SIZE.name, Extractor(options["input_size"], what=f"{spec.span_name} input_size")))
    if "output_size" in options:
        spec.outputs.append((OUTPUT_SIZE.name, Extractor(options["output_size"], what=f"{spec.span_name} output_size")))
