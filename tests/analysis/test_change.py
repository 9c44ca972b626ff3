"""Change between two windows, attributable fraction, propagation: what each conditions on, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from tests.analysis.error_cases import Case, analysed, case_of

from headwater.analysis.change import change
from headwater.analysis.errors import analyse
from headwater.analysis.expected_loss import Design, design, folds
from headwater.analysis.panel import Panel, panel_of
from headwater.analysis.population import attributable, cluster_error
from headwater.analysis.roles import Roles, find_roles
from headwater.conventions.attributes import QUALITY
from headwater.simulate.pipelines import Fault, Traits, chain


def simulated(seed: int = 3, **kwargs: object) -> Case:
    return case_of(chain(np.random.default_rng(seed), **kwargs))  # type: ignore[arg-type]


def learned(case: Case) -> tuple[Panel, Roles, Design, np.ndarray]:
    panel = panel_of(case.traces, case.graph, clusters=case.clusters)
    roles = find_roles(panel)
    return panel, roles, design(panel, roles), folds(panel.cluster, np.random.default_rng(0))


@pytest.mark.parametrize("stage", ["vad", "asr", "nlu"])
def test_a_rollout_is_found_with_the_size_it_has_in_truth(stage: str) -> None:
    case = simulated(n_traces=800, fault=Fault(stage=stage, rate=0.4))
    comparison = analysed(case, compare=True).report.comparison
    assert comparison is not None
    true = case.truth.shapley[400:].sum() / 400
    found = {one.stage: one for one in comparison.stages}
    assert found[stage].flagged
    assert found[stage].low < true < found[stage].high
    assert found[stage].own_delta == pytest.approx(true, abs=0.05)
    assert all(abs(one.own_delta) < 0.02 for name, one in found.items() if name != stage)
    later = comparison.stages[case.graph.stages.index(stage) + 1 :]
    assert all(one.inherited_delta > 0.6 * true for one in later), "what lies below inherits it"


def test_harder_input_is_the_inputs_change_and_no_stages() -> None:
    easy = chain(np.random.default_rng(1), n_traces=600, traits=Traits(hard_share=0.1, sessions=300))
    hard = chain(np.random.default_rng(2), n_traces=600, traits=Traits(hard_share=0.7, sessions=300, start_ns=easy.spans.start_ns.max() + 10**9))
    old, new = case_of(easy), case_of(hard)
    rng = np.random.default_rng(0)
    report = analyse(new.traces, new.graph, pipeline="p", baseline=old.traces, clusters=None, rng=rng).report
    comparison = report.comparison
    assert comparison is not None
    assert comparison.delta > 0.15
    assert comparison.input_delta == pytest.approx(comparison.delta, abs=0.06)
    assert not any(one.flagged for one in comparison.stages)


def test_an_unlogged_fault_stays_unexplained() -> None:
    case = simulated(n_traces=600, fault=Fault(stage="asr", versioned=False, evident=False))
    report = analysed(case, compare=True).report
    assert report.comparison is not None
    assert report.comparison.unexplained_delta > 0.8 * report.comparison.delta
    assert not any(one.flagged and one.own_delta > 0.05 for one in report.comparison.stages)
    assert report.verdict == "not identifiable"


def test_stages_that_switched_together_cannot_be_told_apart() -> None:
    case = simulated(n_traces=400, fault=(Fault(stage="vad"), Fault(stage="asr")))
    report = analysed(case, compare=True).report
    assert report.comparison is not None
    assert report.comparison.unexplained_delta > 0.5 * report.comparison.delta
    assert "changed_together" in {one.code for one in report.warnings}
    assert {one.verdict for one in report.stages[:2]} == {"not identifiable"}


def test_a_short_baseline_gives_no_comparison_but_a_warning() -> None:
    case = simulated(n_traces=100, fault="asr")
    few = case.traces.take(np.arange(6))
    rest = case.traces.take(np.arange(50, 100))
    report = analyse(rest, case.graph, pipeline="p", baseline=few, clusters=None, rng=np.random.default_rng(0)).report
    assert report.comparison is None
    assert "baseline_too_small" in {one.code for one in report.warnings}


def test_swapping_the_windows_turns_every_sign() -> None:
    case = simulated(n_traces=600, fault=Fault(stage="asr", rate=0.5))
    panel, _, _, fold = learned(case)
    late = case.place >= 300
    there = replace(panel, current=late)
    back = replace(panel, current=~late)
    roles, matrix = find_roles(there), design(there, find_roles(there))
    one, two = change(there, roles, matrix, fold, level=0.95), change(back, roles, matrix, fold, level=0.95)
    assert one is not None
    assert two is not None
    assert one.answer.delta == pytest.approx(-two.answer.delta, abs=1e-12)
    for a, b in zip(one.answer.stages, two.answer.stages, strict=True):
        assert a.own_delta == pytest.approx(-b.own_delta, abs=1e-9)


def test_attributable_fraction_does_not_condition_on_later_stages() -> None:
    """The coverage of the last stage reads the damage on its way to the loss: adjusting for it takes most of the effect away."""
    case = simulated(n_traces=1200, fault=Fault(stage="vad", since=0.0, rate=0.4))
    panel, roles, matrix, fold = learned(case)
    truth = case.truth.shapley.sum() / case.truth.loss.sum()
    mediator = next(-8 * one.values for one in panel.columns if one.stage == 2 and one.attribute == QUALITY.of("coverage"))
    later = Design(x=np.concatenate([matrix.x, mediator[:, None]], axis=1), player=np.append(matrix.player, 3))
    with_it = attributable(panel, later, roles.flagged, stage=0, fold=fold, level=0.95)
    assert with_it.fraction == pytest.approx(truth, abs=0.08)
    assert with_it.low < truth < with_it.high
    wrong = Design(x=later.x, player=np.append(matrix.player, 0))
    assert abs(attributable(panel, wrong, roles.flagged, stage=0, fold=fold, level=0.95).fraction - truth) > 0.1, "the bug would show"


def test_attributable_fraction_is_refused_where_flags_follow_upstream() -> None:
    case = simulated(n_traces=600, fault=Fault(stage="vad", since=0.0, rate=0.4))
    panel, roles, matrix, fold = learned(case)
    flagged = roles.flagged.copy()
    flagged[:, 1] = flagged[:, 0] & (np.random.default_rng(0).random(600) < 0.6)
    refused = attributable(panel, matrix, flagged, stage=1, fold=fold, level=0.95)
    assert np.isnan(refused.fraction)
    assert refused.refused is not None
    assert "upstream" in refused.refused
    clean = attributable(panel, matrix, flagged, stage=0, fold=fold, level=0.95)
    assert clean.refused is None


def test_attributable_fraction_of_a_stage_without_faults_is_nought() -> None:
    case = simulated(n_traces=200)
    panel, roles, matrix, fold = learned(case)
    nothing = np.zeros_like(roles.flagged)
    assert attributable(panel, matrix, nothing, stage=1, fold=fold, level=0.95).fraction == 0.0
    assert np.isnan(attributable(panel, matrix, ~nothing, stage=1, fold=fold, level=0.95).fraction)


def test_cluster_error_by_hand() -> None:
    influence = np.array([1.0, 1.0, -1.0, -1.0])
    assert cluster_error(influence, np.array([0, 0, 1, 1])) == pytest.approx(np.sqrt(8 * 2))
    assert cluster_error(influence, np.arange(4)) == pytest.approx(np.sqrt(4 * 4 / 3))
    assert np.isnan(cluster_error(influence, np.zeros(4, int)))


def test_clusters_widen_the_interval() -> None:
    case = simulated(n_traces=400, fault="asr", traits=Traits(sessions=12, hard_share=0.5))
    wide, narrow = analysed(case).report, analysed(case, clusters=False).report
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_sampling_weights_are_undone() -> None:
    """Keep every failure and a tenth of the successes, each with its weight: the mean loss is again that of all traffic."""
    case = simulated(n_traces=2000, fault=Fault(stage="asr", rate=0.5))
    lost = case.truth.loss[case.place] > 0
    keep = lost | (np.random.default_rng(0).random(2000) < 0.1)
    rows = np.flatnonzero(keep)
    traces = case.traces.take(rows)
    weight = np.where(lost[rows], 1.0, 10.0)[traces.trace_of_row()]
    weighted = Case(traces=replace(traces, spans=replace(traces.spans, weight=weight)), graph=case.graph, truth=case.truth, place=case.place[rows])
    report = analysed(weighted).report
    assert report.mean_loss == pytest.approx(case.truth.loss.mean(), abs=0.04)
    asr = next(one for one in report.stages if one.stage == "asr")
    assert asr.blame_share == pytest.approx(case.truth.shapley.sum() / case.truth.loss.sum(), abs=0.1)


def test_trouble_travels_down_the_edge() -> None:
    case = simulated(n_traces=800, fault=Fault(stage="vad", since=0.0, rate=0.4))
    first, second = analysed(case).report.edges
    assert (first.source, first.target) == ("vad", "asr")
    assert first.rate_given_error > 2 * first.rate_baseline
    assert first.risk_ratio == pytest.approx(first.rate_given_error / first.rate_baseline)
    assert first.gain > 0
    assert np.isnan(second.rate_given_error), "asr has next to no own faults to learn from"
    assert second.effect == "pass"
