"""A provider that keeps its spans in memory, put in force for one test."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler

from headwater.instrument import isolate


class Recorder:
    """The spans that ended so far, by name."""

    def __init__(self, sampler: Sampler | None = None, processor: SpanProcessor | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler or ParentBased(ALWAYS_ON), shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        if processor is not None:
            self.provider.add_span_processor(processor)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def one(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def attributes(self, name: str) -> dict[str, object]:
        return dict(self.one(name).attributes or {})

    def parent_of(self, name: str) -> str | None:
        parent = self.one(name).parent
        return None if parent is None else next((span.name for span in self.spans if span.context.span_id == parent.span_id), "?")


def put_in_force(provider: TracerProvider | None) -> None:
    """The API lets a provider be set once; tests need one each."""
    trace._TRACER_PROVIDER = provider


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    put_in_force(made.provider)
    yield made
    put_in_force(None)
    made.provider.shutdown()


@pytest.fixture
def no_provider() -> Iterator[None]:
    put_in_force(None)
    yield
    put_in_force(None)


@pytest.fixture
def swallowing() -> Iterator[None]:
    """Production manners: what goes wrong around a stage is counted and hidden."""
    isolate.set_reraise(False)
    isolate.clear_counts()
    yield
    isolate.set_reraise(None)
    isolate.clear_counts()
