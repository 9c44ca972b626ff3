"""The pytest plugin (entry point ``pytest11``): what a test's stages did, and limits on it.

    def test_speech(headwater_traces):
        transcribe(audio)
        assert headwater_traces.calls("asr") == 1

    @pytest.mark.headwater(max_p95={"asr": 0.2}, max_errors=0, min_confidence={"asr": 0.5})
    def test_speed(): ...

Nothing but the standard library is loaded until a test uses one of the two; then the OpenTelemetry SDK is.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

import pytest

MARK: Final = "headwater"
_LIMITS: Final = ("max_p95", "max_errors", "min_confidence")
_TAPS: Final["WeakKeyDictionary[Any, Any]"] = WeakKeyDictionary()


class Traces:
    """The stages that ended since the recording began. `spans` are the SDK's own, in the order they ended."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def clear(self) -> None:
        self.spans.clear()

    @property
    def stages(self) -> list[str]:
        """Names of the stages seen, sorted."""
        from headwater.conventions.attributes import STAGE_NAME

        return sorted({str(span.attributes[STAGE_NAME.name]) for span in self.spans if STAGE_NAME.name in (span.attributes or {})})

    def of(self, stage: str) -> list[Any]:
        """The spans of one stage."""
        from headwater.conventions.attributes import STAGE_NAME

        return [span for span in self.spans if (span.attributes or {}).get(STAGE_NAME.name) == stage]

    def calls(self, stage: str) -> int:
        return len(self.of(stage))

    def errors(self, stage: str) -> int:
        """Executions that ended in an error."""
        return sum(not span.status.is_ok and not span.status.is_unset for span in self.of(stage))

    def p95_s(self, stage: str) -> float:
        """The 95th percentile of the durations, nearest rank, in seconds; NaN without a call."""
        taken = sorted((span.end_time - span.start_time) / 1e9 for span in self.of(stage))
        return taken[math.ceil(0.95 * len(taken)) - 1] if taken else math.nan

    def mean_confidence(self, stage: str) -> float:
        """NaN where none was reported."""
        from headwater.conventions.attributes import CONFIDENCE

        said = [span.attributes[CONFIDENCE.name] for span in self.of(stage) if CONFIDENCE.name in span.attributes]
        return sum(said) / len(said) if said else math.nan


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARK}({', '.join(f'{name}=...' for name in _LIMITS)}): limits on the stages the test runs, in seconds and counts"
    )


@pytest.fixture
def headwater_traces() -> Iterator[Traces]:
    """Every stage the test runs, in a `Traces`. Uses the program's TracerProvider if there is one, else one of its own while the test runs."""
    with recording() as traces:
        yield traces


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    marker = item.get_closest_marker(MARK)
    if marker is None:
        return (yield)
    unknown = sorted(set(marker.kwargs) - set(_LIMITS))
    if unknown or marker.args:
        message = f"@pytest.mark.{MARK}: unknown {unknown or list(marker.args)}; allowed: the keywords {', '.join(_LIMITS)}"
        raise pytest.UsageError(message)
    with recording() as traces:
        result = yield
    table = broken(traces, marker.kwargs)
    if table:
        pytest.fail(table, pytrace=False)
    return result


def broken(traces: Traces, limits: Mapping[str, Any]) -> str:
    """A table of the limits that do not hold, empty if all do. A limit is a number for every stage seen, or a mapping by stage; a stage that is
    named and was never called, or never reported a confidence that has a limit, breaks it.
    """
    rows = []
    for name, limit in limits.items():
        by_stage = limit if isinstance(limit, Mapping) else dict.fromkeys(traces.stages, limit)
        for stage, bound in by_stage.items():
            found = _figure(traces, name, stage)
            if not (found >= bound if name == "min_confidence" else found <= bound):
                rows.append((stage, str(traces.calls(stage)), name, f"{found:.6g}", f"{bound:.6g}"))
    if not rows:
        return ""
    lines = [("stage", "calls", "limit", "found", "allowed"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        [
            "limits of @pytest.mark.headwater broken",
            *("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines),
        ]
    )


def _figure(traces: Traces, limit: str, stage: str) -> float:
    if not traces.calls(stage):
        return math.nan  # compares as broken
    return {"max_p95": traces.p95_s, "max_errors": traces.errors, "min_confidence": traces.mean_confidence}[limit](stage)


@contextmanager
def recording() -> Iterator[Traces]:
    """Record what ends inside the block. Recordings nest; each sees everything."""
    from headwater.instrument import live

    provider: Any = live.seen().provider
    own = not hasattr(provider, "add_span_processor")
    if own:
        from opentelemetry.sdk.trace import TracerProvider

        before = live.API.get(live.GLOBAL)
        provider = TracerProvider(shutdown_on_exit=False)
        live.API[live.GLOBAL] = provider
    tap = _TAPS.get(provider)
    if tap is None:
        tap = _TAPS[provider] = _tap()
        provider.add_span_processor(tap)
    traces = Traces()
    tap.listeners.append(traces.spans)
    try:
        yield traces
    finally:
        tap.listeners[:] = [listener for listener in tap.listeners if listener is not traces.spans]
        if own:
            live.API[live.GLOBAL] = before


def _tap() -> Any:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

    class Tap(SpanProcessor):
        """One per provider: processors cannot be taken off again."""

        def __init__(self) -> None:
            self.listeners: list[list[Any]] = []

        def on_end(self, span: ReadableSpan) -> None:
            for listener in self.listeners:
                listener.append(span)

    return Tap()
