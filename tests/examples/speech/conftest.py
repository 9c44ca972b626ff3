"""Utterances and reruns shared by the tests: the voice and the recogniser are real, so they are made once."""

from collections.abc import Iterator

import pytest
from examples.pipelines.speech.truth import Replay
from examples.pipelines.speech.voice import utterances
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SEED = 4


@pytest.fixture(scope="session")
def replays() -> list[Replay]:
    """Twelve utterances, with what was computed for them so far."""
    return [Replay(utterance=utterance) for utterance in utterances(12, seed=SEED)]


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Spans of one test. The API lets a provider be set once; tests need one each."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    before = trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = provider
    yield memory
    trace._TRACER_PROVIDER = before
    provider.shutdown()
