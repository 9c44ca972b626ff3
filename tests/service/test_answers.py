"""The chain of rooms over a stored pipeline with a known culprit."""

import numpy as np
import pytest

from headwater.model.errors import EmptyStoreError, TooLittleDataError, UnknownPipelineError, UnknownTraceError, UsageError
from headwater.model.traces import format_trace_id
from headwater.service.answers import LocalAnswers
from headwater.store.span_store import SpanStore


@pytest.fixture(scope="module")
def answers(reader, simulated):
    newest = int(simulated.spans.start_ns.max())
    return LocalAnswers(reader, now_ns=lambda: newest + 1)


@pytest.fixture(scope="module")
def halves(simulated):
    """The instant between the two halves, as text."""
    spans = simulated.spans
    roots = np.sort(spans.start_ns[(spans.parent_id == 0) & (spans.pipeline.codes >= 0)])
    return str(int(roots[roots.size // 2]))


def test_one_pipeline_needs_no_name(answers):
    assert answers.query().pipeline == answers.pipelines()[0].pipeline
    assert answers.pipelines()[0].n_traces == 400


def test_a_wrong_name_lists_the_known_ones(answers):
    with pytest.raises(UnknownPipelineError, match="known: "):
        answers.query(pipeline="spech")


def test_the_comparison_names_the_stage_that_changed(answers, halves):
    query = answers.query(since=halves, baseline_until=halves)
    report = answers.errors(query)
    assert report.comparison is not None
    worst = max(report.comparison.stages, key=lambda stage: stage.own_delta)
    assert worst.stage == "asr"
    assert worst.low > 0
    assert answers.errors(query) is report  # kept until the store changes


def test_both_halves_are_the_whole(answers, halves):
    whole = answers.latency(answers.query()).n_traces
    parts = [answers.latency(answers.query(since=halves)).n_traces, answers.latency(answers.query(until=halves)).n_traces]
    assert sum(parts) == whole == 400


def test_the_overview_joins_everything(answers, halves):
    overview = answers.overview(answers.query(since=halves, baseline_until=halves))
    assert set(overview.durations_ns) == {"vad", "asr", "nlu"} == set(overview.baseline_durations_ns)
    assert overview.flow.calls.sum() == sum(values.size for values in overview.durations_ns.values())
    assert "asr" in {alert.stage for alert in overview.alerts}
    losses = [answers.trace(trace_id).traces.outcome_loss[0] for trace_id in overview.failed_traces]
    assert losses
    assert min(losses) > 0


def test_a_trace_is_answered_with_partition_and_blame(answers, simulated):
    row = int(np.flatnonzero(simulated.spans.stage.codes >= 0)[0])
    trace_id = format_trace_id(*simulated.spans.trace_id[row])
    found = answers.trace(trace_id)
    length = int(found.traces.spans.end_ns.max() - found.traces.spans.start_ns.min())
    assert int(found.partition.matrix().sum()) == length
    assert found.blame is not None
    assert found.blame.loss.shape == (1,)
    assert found.jaeger_url is None


def test_deep_links_honour_a_base_path(reader, simulated):
    answers = LocalAnswers(reader, now_ns=lambda: 1, jaeger_url="http://jaeger.example/base/")
    row = int(np.flatnonzero(simulated.spans.parent_id == 0)[0])
    trace_id = format_trace_id(*simulated.spans.trace_id[row])
    span_id = f"{int(simulated.spans.span_id[row]):016x}"
    assert answers.trace(trace_id).jaeger_url == f"http://jaeger.example/base/trace/{trace_id}?uiFind={span_id}"


def test_what_is_no_trace_and_what_is_not_here(answers):
    with pytest.raises(UsageError, match="hex digits"):
        answers.trace("not-a-trace")
    with pytest.raises(UnknownTraceError, match="not in this store"):
        answers.trace("f" * 32)


def test_an_empty_store_says_the_next_command(tmp_path):
    with SpanStore(tmp_path / "none", writer=False) as empty:
        answers = LocalAnswers(empty, now_ns=lambda: 1)
        assert answers.pipelines() == ()
        with pytest.raises(EmptyStoreError) as caught:
            answers.query()
        assert caught.value.next == "headwater ingest traces.jsonl"


def test_a_window_without_runs_is_too_little_data(answers):
    with pytest.raises(TooLittleDataError, match="no run"):
        answers.latency(answers.query(since="2001-01-01T00:00:00Z", until="2001-01-02T00:00:00Z"))


def test_bad_questions_are_named(answers):
    with pytest.raises(UsageError, match="previous"):
        answers.query(baseline="last")
    with pytest.raises(UsageError, match="no root span"):
        answers.errors(answers.query(cluster="no.such.attribute"))


def test_answers_change_with_the_store(simulated, tmp_path):
    from tests.service.conftest import batch_of

    with SpanStore(tmp_path, writer=True) as store:
        generation = iter(range(100))
        answers = LocalAnswers(store, now_ns=lambda: 1, generation=lambda: next(generation))
        assert answers.pipelines() == ()
        store.append([batch_of(simulated.spans)])
        assert answers.pipelines()[0].n_traces == 400
