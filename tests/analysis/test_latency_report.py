"""The report: sums that close, honest intervals, weights, refusals, and what the reader is told."""

import numpy as np
import pytest
from latency_inputs import speech, trees, window, with_columns

from headwater.analysis.latency import report
from headwater.conventions.attributes import CANARY, CPU_TIME_NS, SESSION_ID
from headwater.model.errors import EXIT_TOO_LITTLE_DATA, TooLittleDataError
from headwater.model.spans import STATUS_ERROR, SpanTable, TextColumn
from headwater.simulate.latency import Change, speech_runs


def made(current, baseline=None, **options):
    return report(current, pipeline="speech", baseline=baseline, rng=np.random.default_rng(7), **({"replicates": 60} | options))


def codes(found):
    return {warning.code for warning in found.warnings}


@pytest.fixture(scope="module")
def plain():
    return made(speech(1))


def test_parts_add_up_to_each_statistic(plain):
    assert [statistic.statistic for statistic in plain.statistics] == ["mean", "p50", "p95", "p99"]
    for statistic in plain.statistics:
        assert abs(float(statistic.spent.share.sum()) - statistic.value_ns) <= 1e-12 * statistic.value_ns
        assert statistic.spent.total == statistic.value_ns
        assert statistic.low_ns < statistic.value_ns < statistic.high_ns


def test_values_are_those_of_the_horizons(plain):
    given = speech(1)
    length = given.partition.horizon_end_ns - given.partition.horizon_start_ns
    assert plain.statistics[0].value_ns == pytest.approx(length.mean(), rel=1e-12)
    assert plain.statistics[1].value_ns == pytest.approx(np.median(length), rel=0.01)
    assert plain.statistics[2].value_ns == pytest.approx(np.quantile(length, 0.95), rel=0.03)


def test_components_come_with_most_time_first_and_share_of_traces(plain):
    first = plain.statistics[0]
    assert first.spent.components == ("self:asr", "self:nlu", "self:vad", "self:capture", "unaccounted")
    assert first.on_path_share == pytest.approx(np.ones(5))
    assert first.on_path_share.max() <= 1


def test_one_trace_is_enough_for_numbers_but_not_for_intervals():
    found = made(speech(1, n=1))
    assert found.n_traces == 1
    assert found.n_effective == 1
    for statistic in found.statistics:
        assert statistic.value_ns == found.statistics[0].value_ns
        assert np.isnan(statistic.spent.low).all() or statistic.statistic == "p50"
    assert "few_traces_at_quantile" in codes(found)


def test_no_traces_is_an_error_with_the_next_command():
    with pytest.raises(TooLittleDataError, match="no trace of pipeline 'speech'") as caught:
        made(window(SpanTable.empty()))
    assert caught.value.next == "headwater ingest PATH"
    assert caught.value.exit_code == EXIT_TOO_LITTLE_DATA


def test_few_traces_widen_the_interval_and_say_so():
    found = made(speech(3, n=200))
    told = [warning.text for warning in found.warnings if warning.code == "few_traces_at_quantile"]
    assert [text.split()[0] for text in told] == ["p95", "p99"]
    given = speech(3, n=200)
    length = np.sort(given.partition.horizon_end_ns - given.partition.horizon_start_ns)
    p95 = found.statistics[2]
    # Binomial(200, .95): the quantile lies between the 184th and the 197th of 200 with at least 95 %.
    assert p95.low_ns <= length[183]
    assert p95.high_ns >= length[196]
    wide = p95.spent.high - p95.spent.low
    assert np.all(wide[:4] > 0)


def test_intervals_cover_the_truth():
    big = speech(50, n=20_000)
    length = big.partition.horizon_end_ns - big.partition.horizon_start_ns
    truth = [length.mean(), np.median(length), np.quantile(length, 0.95)]
    hits = np.zeros(3)
    for seed in range(60):
        found = made(speech(100 + seed, n=300))
        hits += [s.low_ns <= t <= s.high_ns for s, t in zip(found.statistics, truth, strict=False)]
    assert np.all(hits >= 52), hits


def test_clusters_widen_the_interval():
    spans = speech_runs(np.random.default_rng(4), n_runs=300)
    copies = [spans] + [with_columns(spans, trace_id=spans.trace_id + np.array([0, 10_000 * k], np.uint64)) for k in (1, 2, 3)]
    every = SpanTable.concatenate(copies)
    session = TextColumn(codes=np.tile(np.arange(len(spans), dtype=np.int32) // 5, 4), values=tuple(f"s{i}" for i in range(300)))
    alone, together = made(window(every)), made(window(with_columns(every, texts={SESSION_ID.name: session})))
    ratio = [(b.high_ns - b.low_ns) / (a.high_ns - a.low_ns) for a, b in zip(alone.statistics[:3], together.statistics, strict=False)]
    assert ratio[0] == pytest.approx(2, rel=0.01)  # four copies say no more than one; exact for the mean, a draw for quantiles
    assert min(ratio[1:]) > 1.5
    by_user = made(window(with_columns(every, texts={"user": session})), cluster="user")
    assert by_user.statistics[0].high_ns == pytest.approx(together.statistics[0].high_ns)


def test_weights_none_th_unknown_and_mixed():
    spans = speech_runs(np.random.default_rng(4), n_runs=200)
    assert made(window(spans)).weights == "none"
    unknown = made(window(with_columns(spans, weight=np.full(len(spans), np.nan))))
    assert unknown.weights == "unknown"
    assert "weights_unknown" in codes(unknown)
    one_missing = np.full(len(spans), 4.0)
    one_missing[:5] = np.nan
    assert made(window(with_columns(spans, weight=one_missing))).weights == "unknown"
    weight = np.repeat(np.where(np.arange(200) < 100, 1.0, 9.0), 5)
    weighted = made(window(with_columns(spans, weight=weight)))
    assert weighted.weights == "th"
    assert weighted.n_effective == pytest.approx(1000**2 / (100 + 8100))
    given = window(spans)
    length = given.partition.horizon_end_ns - given.partition.horizon_start_ns
    assert weighted.statistics[0].value_ns == pytest.approx(np.average(length, weights=weight[::5]))
    mixed = weight.copy()
    mixed[3] = 40.0
    assert "weights_mixed" in codes(made(window(with_columns(spans, weight=mixed))))


def test_canary_runs_are_left_out_and_counted():
    spans = speech_runs(np.random.default_rng(4), n_runs=100)
    canary = np.full(len(spans), np.nan)
    canary[:50:5] = 1.0
    found = made(window(with_columns(spans, numbers={CANARY.name: canary})))
    assert found.n_traces == 90
    assert found.completeness["canaries"] == 10
    assert found.stages[0].calls == 90
    with pytest.raises(TooLittleDataError):
        made(window(with_columns(spans, numbers={CANARY.name: np.ones(len(spans))})))


def test_stages_are_over_all_calls():
    spans = speech_runs(np.random.default_rng(4), n_runs=100)
    status, cpu = np.zeros(len(spans), np.int8), np.full(len(spans), np.nan)
    asr = np.flatnonzero(spans.stage.codes == 2)
    status[asr[:25]], cpu[asr[:10]] = STATUS_ERROR, 5e6
    found = made(window(with_columns(spans, status=status, numbers={CPU_TIME_NS.name: cpu})))
    assert [stage.stage for stage in found.stages] == ["capture", "vad", "asr", "nlu"]
    row = found.stages[2]
    assert (row.calls, row.error_rate, row.cpu_ns) == (100, 0.25, 5e6)
    assert row.p50_ns == pytest.approx(np.median((spans.end_ns - spans.start_ns)[asr]))
    assert np.isnan(found.stages[0].cpu_ns)


def test_ambiguous_edges_are_told_with_both_attributions():
    ms = 1_000_000
    spans = SpanTable.build(
        trace_id=np.array([[0, 1]] * 3, np.uint64),
        span_id=np.array([1, 2, 3], np.uint64),
        parent_id=np.array([0, 1, 2], np.uint64),
        start_ns=np.array([0, 0, 40]) * ms,
        end_ns=np.array([100, 90, 300]) * ms,
        stage=TextColumn.of(["R", "P", "L"]),
    )
    told = {warning.code: warning.text for warning in made(window(spans)).warnings}
    assert told["ambiguous_edges"].startswith("50% of the time")
    assert "self:P 90% or 40%" in told["ambiguous_edges"]
    assert "self:L 0% or 50%" in told["ambiguous_edges"]


# Drag: how far a component can shrink before another branch decides.


def drags(*traces):
    found = made(window(trees(*traces)), replicates=5)
    return dict(zip(found.statistics[0].spent.components, found.statistics[0].drag_ns.tolist(), strict=True))


def test_drag_of_a_sequence_is_all_its_time():
    assert drags([("R", None, 0, 300), ("A", 0, 0, 100), ("B", 0, 110, 300)]) == {"self:A": 100, "self:B": 190, "self:R": 10}


def test_drag_ends_where_the_parallel_branch_takes_over():
    # A and B start together, join waits for both; A is on the path and can lose 20 before B is.
    assert drags([("R", None, 0, 200), ("B", 0, 0, 80), ("A", 0, 0, 100), ("join", 0, 100, 200)])["self:A"] == 20


def test_drag_of_pieces_inside_a_branch_share_its_slack():
    branch = [("R", None, 0, 100), ("A", 0, 0, 100), ("x", 1, 0, 60), ("x", 1, 60, 95), ("B", 0, 0, 70)]
    assert drags(branch) == {"self:x": 30, "self:A": 5}


def test_drag_is_unknown_where_stages_stream():
    found = drags([("R", None, 0, 300), ("A", 0, 0, 200), ("B", 0, 50, 300)])
    assert np.isnan(found["self:A"])
    assert found["self:B"] == 100  # shrunk by more, A would end last


# Comparison.


@pytest.fixture(scope="module")
def compared():
    return made(speech(2, change=Change(slower=(("vad", 1.5),))), speech(1))


def test_a_comparison_closes_in_every_statistic(compared):
    assert [change.statistic for change in compared.comparison] == ["mean", "p50", "p95", "p99"]
    for change, statistic in zip(compared.comparison, compared.statistics, strict=True):
        assert change.current_ns == pytest.approx(statistic.value_ns, rel=1e-12)
        assert change.delta_ns == pytest.approx(change.current_ns - change.baseline_ns, rel=1e-12)
        assert sum(part.spent_delta_ns for part in change.components) == pytest.approx(change.delta_ns, rel=1e-9)
        causes = [part.own_ns + sum(part.inherited_ns.values()) + part.mix_ns for part in change.components]
        assert sum(causes) == pytest.approx(change.delta_ns, rel=1e-9)
        assert change.low_ns <= change.delta_ns <= change.high_ns


def test_only_the_slow_stage_is_flagged(compared):
    for change in compared.comparison:
        assert {part.component for part in change.components if part.flagged} <= {"self:vad"}
    assert all(any(part.flagged for part in change.components) for change in compared.comparison[:3])


def test_a_comparison_says_what_it_was_compared_with(compared, plain):
    assert compared.n_baseline == 400
    assert [stage.calls for stage in compared.baseline_stages] == [400] * 4
    assert compared.baseline_stages[1].p50_ns * 1.5 == pytest.approx(compared.stages[1].p50_ns, rel=0.05)
    assert (plain.n_baseline, plain.baseline_stages) == (None, None)


def test_sizes_name_the_stage_they_came_from(compared):
    named = {part.component: tuple(part.inherited_ns) for part in compared.comparison[0].components}
    assert named["self:asr"] == ("vad.output.size",)
    assert named["self:capture"] == ("capture.input.size",)
    assert named["unaccounted"] == ()


def test_without_sizes_no_cause_is_told():
    slow = Change(slower=(("vad", 1.5),), record_sizes=False)
    found = made(speech(2, n=100, change=slow), speech(1, n=100, change=Change(record_sizes=False)))
    assert "sizes_not_recorded" in codes(found)
    for change in found.comparison:
        for part in change.components:
            if part.component.startswith("self:"):
                assert (part.own_ns, part.mix_ns, dict(part.inherited_ns), part.flagged) == (None, None, {}, False)
            else:
                assert part.own_ns is not None
        assert sum(part.spent_delta_ns for part in change.components) == pytest.approx(change.delta_ns, rel=1e-9)


def test_a_baseline_without_traces_or_of_another_policy_is_not_compared():
    found = made(speech(2, n=50), window(SpanTable.empty()))
    assert found.comparison is None
    assert "no_baseline" in codes(found)
    spans = speech_runs(np.random.default_rng(4), n_runs=50)
    found = made(window(spans), window(with_columns(spans, weight=np.full(len(spans), np.nan))))
    assert found.comparison is None
    assert "weights_differ" in codes(found)


def test_a_component_of_one_window_only_is_compared_with_zero():
    before = trees(*[[("R", None, 0, 100 + i), ("A", 0, 0, 100)] for i in range(40)])
    after = trees(*[[("R", None, 0, 150 + i), ("A", 0, 0, 100), ("N", 0, 100, 150)] for i in range(40)])
    found = made(window(after), window(before), replicates=20)
    parts = {part.component: part for part in found.comparison[0].components}
    assert parts["self:N"].spent_delta_ns == pytest.approx(50)
    assert found.comparison[0].delta_ns == pytest.approx(50)


def test_a_parallel_stage_that_lost_the_path_is_not_accused():
    # A ∥ B, then C. B slows past A, so A leaves the path although it did nothing different.
    rng = np.random.default_rng(3)

    def runs(b_mean):
        a, b = rng.normal(1000, 20, 300).astype(int), rng.normal(b_mean, 20, 300).astype(int)
        return [
            [(None, None, 0, max(x, y) + 500), ("A", 0, 0, x), ("B", 0, 0, y), ("C", 0, max(x, y), max(x, y) + 500)]
            for x, y in zip(a, b, strict=True)
        ]

    def sized(spans):
        return with_columns(spans, numbers={"headwater.input.size": np.where(spans.stage.codes >= 0, 1.0, np.nan)}, blocking=spans.blocking)

    found = made(window(sized(trees(*runs(1300)))), window(sized(trees(*runs(800)))))
    for change in found.comparison[:3]:
        parts = {part.component: part for part in change.components}
        assert parts["self:A"].spent_delta_ns < -900
        assert abs(parts["self:A"].own_ns) < 20
        assert not parts["self:A"].flagged
        assert parts["self:B"].flagged


def test_the_same_seed_gives_the_same_report():
    one, two = made(speech(2, n=60), speech(1, n=60)), made(speech(2, n=60), speech(1, n=60))
    assert one.comparison[2].components == two.comparison[2].components
    assert np.array_equal(one.statistics[2].spent.low, two.statistics[2].spent.low)


@pytest.mark.parametrize(("n_before", "n_after"), [(1, 1), (2, 1), (1, 40), (3, 3)])
def test_tiny_windows_are_compared_without_false_certainty(n_before, n_after):
    found = made(speech(2, n=n_after), speech(1, n=n_before))
    assert found.n_baseline == n_before
    for change in found.comparison:
        assert sum(part.spent_delta_ns for part in change.components) == pytest.approx(change.delta_ns, rel=1e-9)
        for part in change.components:
            assert (part.own_low_ns, part.own_high_ns, part.flagged) == (None, None, False)
            assert np.isnan(part.low_ns)
    assert "few_traces_for_causes" in codes(found)
