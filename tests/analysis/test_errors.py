"""The whole answer: right on known culprits, exact sums, honest where nothing can be known."""

import numpy as np
import pytest
from tests.analysis.error_cases import Case, analysed, case_of

from headwater.analysis.errors import analyse
from headwater.model.errors import NoOutcomesError, TooLittleDataError
from headwater.simulate.pipelines import Fault, Traits, chain, diamond


def case(seed: int = 1, **kwargs: object) -> Case:
    return case_of(chain(np.random.default_rng(seed), **kwargs))  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", ["vad", "asr", "nlu"])
def test_the_faulty_stage_gets_the_share_it_has_in_truth(stage: str) -> None:
    found = case(n_traces=500, fault=stage)
    report = analysed(found).report
    truth = found.truth.shapley.sum(axis=0) / found.truth.loss.sum()
    for one, expected in zip(report.stages, truth, strict=True):
        assert abs(one.blame_share - expected) < 0.1
    culprit = next(one for one in report.stages if one.stage == stage)
    assert culprit.q_value < 0.01
    assert culprit.blame_low < truth.max() < culprit.blame_high
    assert abs(culprit.attributable_fraction - truth.max()) < 0.1


def test_sums_are_exact() -> None:
    found = case_of(diamond(np.random.default_rng(4), n_traces=300, fault=(Fault(stage="detector", rate=0.5), Fault(stage="quality", rate=0.5))))
    answer = analysed(found, compare=True)
    blame, report = answer.blame, answer.report
    np.testing.assert_allclose(blame.own.sum(axis=1) + blame.input + blame.residual, blame.loss - blame.baseline, atol=1e-12)
    failed = blame.loss > 0
    np.testing.assert_allclose((blame.share.sum(axis=1) + blame.unattributed)[failed], 1.0, atol=1e-12)
    assert sum(one.blame_share for one in report.stages) + report.input_share + report.unexplained_share == pytest.approx(1.0, abs=1e-12)
    change = report.comparison
    assert change is not None
    total = sum(one.own_delta for one in change.stages) + change.input_delta + change.unexplained_delta
    assert total == pytest.approx(change.current_loss - change.baseline_loss, abs=1e-12)


def test_order_of_rows_does_not_matter() -> None:
    found = case(n_traces=160, fault="asr")
    shuffled = np.random.default_rng(0).permutation(len(found.traces))
    other = Case(traces=found.traces.take(shuffled), graph=found.graph, truth=found.truth, place=found.place[shuffled])
    one, two = analysed(found), analysed(other)
    np.testing.assert_allclose(one.blame.own[shuffled], two.blame.own, atol=1e-9)
    np.testing.assert_array_equal(one.blame.introduced_by[shuffled], two.blame.introduced_by)
    for a, b in zip(one.report.stages, two.report.stages, strict=True):
        assert a.blame_share == pytest.approx(b.blame_share, abs=1e-9)
        assert a.attributable_fraction == pytest.approx(b.attributable_fraction, abs=1e-9, nan_ok=True)


def test_no_outcomes_says_what_to_run() -> None:
    found = case(n_traces=40, traits=Traits(labelled=0.0))
    with pytest.raises(NoOutcomesError) as error:
        analysed(found)
    assert error.value.next == "headwater outcome import FILE"
    assert error.value.exit_code == 3


def test_too_few_outcomes_and_no_runs() -> None:
    found = case(n_traces=9)
    with pytest.raises(TooLittleDataError, match="9 of 9"):
        analysed(found)
    nothing = found.traces.take(np.empty(0, np.int64))
    with pytest.raises(TooLittleDataError, match="no runs"):
        analyse(nothing, found.graph, pipeline="p", baseline=None, clusters=None, rng=np.random.default_rng(0))
    with pytest.raises(TooLittleDataError):
        analysed(case(n_traces=1))


def test_no_failures_is_a_report_with_a_warning() -> None:
    found = case(n_traces=60, traits=Traits(base_failure=0.0, hard_failure=0.0, hard_share=0.0, passed_on=0.1))
    assert found.truth.loss.sum() == 0
    answer = analysed(found)
    assert answer.report.mean_loss == 0
    assert "no_failures" in {one.code for one in answer.report.warnings}
    assert np.all(answer.blame.introduced_by == -1)


def test_unlabelled_runs_have_no_blame_and_are_counted() -> None:
    found = case(n_traces=200, fault="asr", traits=Traits(labelled=0.6))
    answer = analysed(found)
    unknown = np.isnan(answer.blame.loss)
    assert 0 < unknown.sum() == answer.report.n_traces - answer.report.n_labelled
    assert np.isnan(answer.blame.own[unknown]).all()
    assert "labels_partial" in {one.code for one in answer.report.warnings}


def test_a_stage_without_evidence_or_version_is_not_identifiable_and_told_the_cure() -> None:
    found = case(n_traces=400, fault=Fault(stage="asr", rate=0.6), traits=Traits(blind=("asr",)))
    report = analysed(found).report
    blind = next(one for one in report.stages if one.stage == "asr")
    assert blind.verdict == "not identifiable"
    assert blind.blame_share == 0
    assert np.isnan(blind.attributable_fraction)
    told = [one.text for one in report.warnings if one.code == "no_own_evidence"]
    assert len(told) == 1
    assert "asr's version" in told[0]
    assert report.verdict == "not identifiable", "most failures are then unexplained"
    assert "residual_large" in {one.code for one in report.warnings}


def test_demo_size_names_the_stage_with_an_interval_and_says_bounded() -> None:
    found = case(n_traces=60, fault="asr", traits=Traits(sessions=30))
    report = analysed(found, compare=True).report
    assert report.comparison is not None
    change = {one.stage: one for one in report.comparison.stages}
    assert [name for name, one in change.items() if one.flagged] == ["asr"]
    assert 0 < change["asr"].low < change["asr"].own_delta < change["asr"].high
    assert report.verdict == "bounded"
    assert max(report.stages, key=lambda one: one.blame_share).stage == "asr"
    assert "switched_without_overlap" in {one.code for one in report.warnings}


def test_a_healthy_window_is_rarely_flagged() -> None:
    flagged = 0
    for seed in range(12):
        report = analysed(case(seed=seed, n_traces=240), compare=True).report
        assert report.comparison is not None
        flagged += sum(one.flagged for one in report.comparison.stages)
        assert sum(one.blame_share for one in report.stages) < 0.1
    assert flagged <= 3, f"{flagged} of 36 healthy stages flagged"


def test_a_real_loss_is_explained_in_its_own_unit() -> None:
    found = case(n_traces=400, fault="asr")
    traces = found.traces
    loss = 3.0 * traces.outcome_loss + 0.1
    table = type(traces)(**{name: getattr(traces, name) for name in traces.__slots__} | {"outcome_loss": loss})
    answer = analyse(table, found.graph, pipeline="p", baseline=None, clusters=found.clusters, rng=np.random.default_rng(0))
    assert answer.report.mean_loss == pytest.approx(loss.mean())
    assert max(answer.report.stages, key=lambda one: one.blame_share).stage == "asr"
    assert answer.report.high > 1


def test_a_blind_stage_keeps_the_report_from_being_identified() -> None:
    faults = tuple(Fault(stage=stage, since=0.0, rate=0.4) for stage in ("vad", "nlu"))
    seen = analysed(case(n_traces=500, fault=faults)).report
    blind = analysed(case(n_traces=500, fault=faults, traits=Traits(blind=("asr",)))).report
    assert seen.verdict == "identified"
    assert blind.verdict == "bounded"


def test_one_cluster_gives_shares_without_intervals_and_says_so() -> None:
    found = case(n_traces=60, fault="asr", traits=Traits(sessions=1))
    report = analysed(found).report
    assert "single_cluster" in {one.code for one in report.warnings}
    assert np.isnan(report.low)
    assert all(np.isnan(one.blame_low) and np.isnan(one.attributable_low) for one in report.stages)
    assert max(report.stages, key=lambda one: one.blame_share).stage == "asr"
