"""Known causes are found: own where a stage got slower, inherited where it was given more, neither in a healthy pair."""

import numpy as np
import pytest

from headwater.analysis.critical_path import partition
from headwater.analysis.latency import report
from headwater.conventions.attributes import INPUT_SIZE
from headwater.model.latency import LatencyInput
from headwater.simulate.latency import STAGES, Change, growth_ns, slowdown_ns, speech_runs
from headwater.traces.assemble import assemble

N = 1500


def window(rng, n=N, change=None, first=1):
    traces = assemble(speech_runs(rng, n_runs=n, change=change, first_trace=first))
    return LatencyInput(traces=traces, partition=partition(traces))


def compare(seed, change, n=N, replicates=50):
    rng = np.random.default_rng(seed)
    before, after = window(rng, n), window(rng, n, change, 1_000_000)
    found = report(after, pipeline="speech", baseline=before, rng=rng, replicates=replicates)
    return before, after, {item.statistic: {part.component: part for part in item.components} for item in found.comparison}


def sizes(given, stage):
    spans = given.traces.spans
    return spans.number(INPUT_SIZE.name)[spans.stage.codes == STAGES.index(stage)]


@pytest.mark.parametrize("stage", ["vad", "asr", "nlu"])
def test_a_slower_stage_is_its_own(stage):
    _, after, parts = compare(11, Change(slower=((stage, 1.4),)))
    truth = slowdown_ns(stage, 1.4, size=sizes(after, stage))
    mean = parts["mean"]
    assert mean[f"self:{stage}"].own_ns == pytest.approx(truth, rel=0.1)
    assert mean[f"self:{stage}"].flagged
    assert parts["p50"][f"self:{stage}"].own_ns == pytest.approx(truth, rel=0.15)
    assert parts["p95"][f"self:{stage}"].own_ns > truth  # large inputs, which make up p95, lose most
    for other in set(STAGES) - {stage}:
        assert abs(mean[f"self:{other}"].own_ns) < 0.1 * truth
        assert not mean[f"self:{other}"].flagged


def test_a_grown_output_is_inherited_by_all_that_receive_it():
    before, after, parts = compare(12, Change(larger=(("vad", 1.5),)))
    for statistic, tolerance in (("mean", 0.1), ("p50", 0.15)):
        for stage, source in (("asr", "vad.output.size"), ("nlu", "asr.output.size")):
            truth = growth_ns(stage, sizes(before, stage), sizes(after, stage))
            part = parts[statistic][f"self:{stage}"]
            assert part.inherited_ns[source] == pytest.approx(truth, rel=tolerance)
            assert abs(part.own_ns) < 0.15 * truth
            assert not part.flagged


def test_the_truth_of_p95_by_rerunning_the_same_runs():
    # The same random numbers with and without the change: the difference of the two 95 % quantiles is the whole effect of the stage.
    change = Change(slower=(("asr", 1.4),))
    quiet, slow = window(np.random.default_rng(77), 20_000), window(np.random.default_rng(77), 20_000, change)
    length = [side.partition.horizon_end_ns - side.partition.horizon_start_ns for side in (quiet, slow)]
    truth = float(np.quantile(length[1], 0.95) - np.quantile(length[0], 0.95))
    own = [compare(seed, change, replicates=10)[2]["p95"]["self:asr"].own_ns for seed in (1, 2, 3)]
    assert np.mean(own) == pytest.approx(truth, rel=0.15)


def test_two_changes_at_once_are_told_apart():
    _, after, parts = compare(13, Change(slower=(("nlu", 1.6),), larger=(("vad", 1.4),)))
    mean = parts["mean"]
    assert mean["self:nlu"].own_ns == pytest.approx(slowdown_ns("nlu", 1.6, size=sizes(after, "nlu")), rel=0.15)
    assert mean["self:nlu"].flagged
    assert not mean["self:asr"].flagged
    assert mean["self:asr"].inherited_ns["vad.output.size"] > 10 * abs(mean["self:asr"].own_ns)


def test_a_healthy_pair_is_rarely_flagged():
    flagged = 0
    for seed in range(40):
        _, _, parts = compare(500 + seed, None, n=150, replicates=80)
        flagged += any(part.flagged for statistic in parts.values() for part in statistic.values())
    assert flagged <= 4, flagged


def test_runs_are_the_same_for_the_same_seed_and_one_change_leaves_the_rest():
    one = speech_runs(np.random.default_rng(1), n_runs=20)
    two = speech_runs(np.random.default_rng(1), n_runs=20, change=Change(slower=(("asr", 2.0),)))
    length = [spans.end_ns - spans.start_ns for spans in (one, two)]
    for code in range(4):
        rows = one.stage.codes == code
        ratio = length[1][rows] / length[0][rows]
        assert ratio == pytest.approx(np.full(20, 2.0 if STAGES[code] == "asr" else 1.0), rel=1e-5)
