"""The handle of a call that is counted but not recorded: no span, or one that is not sampled. See `statistics`."""

from time import perf_counter_ns
from typing import Any

from opentelemetry.trace import INVALID_SPAN, Span

from headwater.instrument import isolate, statistics
from headwater.instrument.current import get_current
from headwater.instrument.record import HANDLE_KEY, Handle, Inert, gentle_end
from headwater.instrument.spec import Spec
from headwater.instrument.values import Attributes


class Counted(Handle):
    """Takes what is said by hand and what the readers of the result find, and keeps it for the statistics alone.

    It is not made current (that would be half of its cost) unless the span it stands for is: so ``hw.stage.current()`` inside such a call is
    the handle of what is around it, and what is said there by hand is not counted; what a block's own handle is told is.
    """

    __slots__ = ()
    recording = False
    cpu = False

    def __init__(self, span: Span, run: Any, spec: Spec) -> None:  # a third of what the recording handle keeps
        Inert.__init__(self, span, run)
        self._spec = spec
        self._explicit = None
        self._start_ns = perf_counter_ns()

    def start_cpu(self) -> None:
        """A call without a span has no CPU time to show."""

    def stop_cpu(self) -> None:
        """See `start_cpu`."""

    def set(self, key: str, value: object) -> None:
        """Nobody sees the attributes of a call without a span."""

    def stream(self) -> None:
        self.leave()

    def item(self) -> None:
        self.leave()

    def close(self, result: Any = None) -> None:
        elapsed_ns = perf_counter_ns() - self._start_ns
        if self._token is not None:
            self.leave()
        attributes: Attributes = {}
        try:
            if self._spec.reads_after:
                self._spec.after(result, attributes)
        finally:
            self._count(attributes, elapsed_ns, statistics.OK)

    def fail(self, error: BaseException) -> None:
        elapsed_ns = perf_counter_ns() - self._start_ns
        self.leave(foreign=isinstance(error, GeneratorExit))
        self._count({}, elapsed_ns, gentle_end(error) or statistics.ERROR)

    def _count(self, attributes: Attributes, elapsed_ns: int, outcome: str) -> None:
        try:
            if self._explicit:
                attributes.update(self._explicit)
            statistics.count(self._spec, None if self.run is None else self.run.attributes, attributes, (elapsed_ns, outcome, bool(self._explicit)))
            if self.span is not INVALID_SPAN:
                self.span.end()
        except Exception as ours:  # noqa: BLE001  a user's exception may be on its way
            isolate.bury("counting a call", ours)


def open_counted(spec: Spec, span: Span = INVALID_SPAN) -> Counted | None:
    """A handle for a call that has no recording span; None where nobody counts, and for what is no stage."""
    if spec.figures is None or not statistics.on():
        return None
    outer: Any = get_current().get(HANDLE_KEY)
    return Counted(span, None if outer is None else outer.run, spec)
