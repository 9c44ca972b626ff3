"""Simulated pipelines: the truth adds up, the spans say what the world did, and late confidences are symptoms."""

import numpy as np
import pytest

from headwater.conventions.attributes import CONFIG_DIGEST, OUTCOME_LOSS, OUTCOME_SPAN_NAME, OWN, RUN_ID
from headwater.simulate.pipelines import CHAIN3, DIAMOND5, Fault, Simulated, Traits, chain, diamond


def rng(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


def stage_rows(run: Simulated, stage: str) -> np.ndarray:
    return np.flatnonzero(run.spans.stage.codes == run.spans.stage.code_of(stage))


def test_shapley_rows_sum_to_what_the_faults_cost() -> None:
    faults = (Fault(stage="vad", rate=0.5), Fault(stage="asr", rate=0.5, strength=2.0), Fault(stage="nlu", rate=0.4))
    truth = chain(rng(), n_traces=600, fault=faults).truth
    np.testing.assert_allclose(truth.shapley.sum(axis=1), truth.loss - truth.healthy_loss, atol=1e-12)
    assert np.all(truth.shapley[~truth.faulty] == 0)
    assert np.all((truth.culprit >= 0) == (truth.loss > truth.healthy_loss))
    both = truth.faulty.sum(axis=1) > 1
    assert np.any((truth.shapley[both] > 0).sum(axis=1) > 1), "somewhere two faults share a failure"


def test_a_fault_raises_the_loss_only_from_its_start_on() -> None:
    truth = chain(rng(), n_traces=1000, fault=Fault(stage="asr", since=0.5)).truth
    assert truth.loss[500:].mean() > truth.loss[:500].mean() + 0.2
    np.testing.assert_array_equal(truth.loss[:500], truth.healthy_loss[:500])


def test_failures_of_healthy_runs_concentrate_in_the_hard_segment() -> None:
    run = chain(rng(), n_traces=3000)
    hard = run.spans.number("headwater.difficulty.hard_segment")[:3000] == 1.0
    assert run.truth.loss[hard].mean() > 4 * run.truth.loss[~hard].mean()
    assert 0.05 < run.truth.loss.mean() < 0.2
    assert np.all(run.truth.culprit == -1)


def test_every_trace_has_a_root_its_stages_and_one_outcome_linked_to_it() -> None:
    run = diamond(rng(), n_traces=50, fault="quality")
    spans = run.spans
    outcome = np.flatnonzero(spans.name.codes == spans.name.code_of(OUTCOME_SPAN_NAME))
    assert outcome.size == 50
    assert len(spans) == 50 * (1 + len(DIAMOND5.stages) + 1)
    assert len(np.unique(spans.span_id)) == len(spans)
    kind = spans.link_kind[np.isin(spans.link_row, outcome)]
    assert np.all(kind == 3)
    root = np.flatnonzero(spans.parent_id == 0)[:50]
    np.testing.assert_array_equal(np.sort(spans.link_span_id[np.isin(spans.link_row, outcome)]), np.sort(spans.span_id[root]))
    np.testing.assert_array_equal(spans.number(OUTCOME_LOSS.name)[outcome], run.truth.loss)
    assert {spans.text(RUN_ID.name).at(int(row)) for row in outcome} == {spans.text(RUN_ID.name).at(int(row)) for row in root}


def test_stages_start_after_their_parents_ended_and_inside_the_root() -> None:
    run = diamond(rng(), n_traces=80)
    spans = run.spans
    for source, target in run.edges:
        assert np.all(spans.start_ns[stage_rows(run, target)] >= spans.end_ns[stage_rows(run, source)])
    root = np.flatnonzero(spans.parent_id == 0)[:80]
    for stage in DIAMOND5.stages:
        rows = stage_rows(run, stage)
        assert np.all((spans.start_ns[rows] >= spans.start_ns[root]) & (spans.end_ns[rows] <= spans.end_ns[root]))


def test_late_confidence_reads_an_early_fault_and_own_evidence_does_not() -> None:
    run = chain(rng(), n_traces=2000, fault="vad")
    hit = run.truth.faulty[:, 0]
    late = stage_rows(run, "nlu")
    confidence, own = run.spans.confidence[late], run.spans.number(OWN.of("inconsistency"))[late]
    assert confidence[~hit].mean() - confidence[hit].mean() > 0.3
    assert abs(own[~hit].mean() - own[hit].mean()) < 0.03


def test_the_version_moves_with_the_fault_and_can_be_left_out() -> None:
    run = chain(rng(), n_traces=200, fault=Fault(stage="asr", since=0.5))
    digest = run.spans.text(CONFIG_DIGEST.name).take(stage_rows(run, "asr"))
    assert {digest.at(row) for row in range(100)} == {"asr-cfg-a"}
    assert {digest.at(row) for row in range(100, 200)} == {"asr-cfg-b"}
    bare = chain(rng(), n_traces=200, fault="asr", traits=Traits(versions=False))
    assert CONFIG_DIGEST.name not in bare.spans.texts


def test_a_harmless_change_moves_the_version_and_the_evidence_but_no_outcome() -> None:
    run = chain(rng(), n_traces=800, fault=Fault(stage="asr", harmless=True))
    np.testing.assert_array_equal(run.truth.loss, run.truth.healthy_loss)
    assert not run.truth.faulty.any()
    own = run.spans.number(OWN.of("inconsistency"))[stage_rows(run, "asr")]
    assert own[400:].mean() > own[:400].mean() + 1.0


def test_inverted_confidence_rises_with_damage() -> None:
    run = chain(rng(), n_traces=800, fault="asr", traits=Traits(inverted=("asr",)))
    confidence = run.spans.confidence[stage_rows(run, "asr")]
    assert confidence[400:].mean() > confidence[:400].mean() + 0.1


def test_same_seed_same_spans() -> None:
    one, two = chain(rng(3), n_traces=30, fault="vad"), chain(rng(3), n_traces=30, fault="vad")
    np.testing.assert_array_equal(one.spans.span_id, two.spans.span_id)
    np.testing.assert_array_equal(one.spans.end_ns, two.spans.end_ns)


def test_unknown_stage_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=", ".join(CHAIN3.stages)):
        chain(rng(), fault="ars")
    with pytest.raises(ValueError, match="two faults"):
        chain(rng(), fault=(Fault(stage="vad"), Fault(stage="vad")))
