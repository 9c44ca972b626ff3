"""Change between two windows, attributable fraction, propagation: what each conditions on, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from tests.analysis.error_cases import Case, analysed, case_of

from headwater.analysis.change import change
from headwater.analysis.errors import analyse
from headwater.analysis.expected_loss import Design, design, folds
from headwater.analysis.panel import Panel, panel_of
from headwater.analysis.population import Attributable, Shares, attributable, cluster_error
from headwater.analysis.roles import Roles, find_roles
from headwater.analysis.verdicts import Findings, stage_verdicts
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


def plain_panel(case: Case, difficulty: np.ndarray, loss: np.ndarray, current: np.ndarray) -> tuple[Panel, Design]:
    """A panel of independent runs that log one difficulty, linear in the model, and nothing else."""
    m = loss.size
    panel = panel_of(case.traces, case.graph)
    rows = np.zeros(m, np.int64)
    wide = replace(panel.take(rows), loss=loss, current=current, cluster=np.arange(m), difficulty=difficulty[:, None], columns=())
    return wide, Design(x=difficulty[:, None], player=np.zeros(1, np.int64))


def test_attributable_fraction_holds_where_either_model_is_right() -> None:
    """Faults are likelier on hard input. Once the loss is a step the logit cannot follow, once the chance of a fault is."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal(20_000)
    case = simulated(n_traces=20)
    chances = {"loss misread": 1 / (1 + np.exp(1.0 - 1.2 * z)), "chance misread": 0.15 + 0.7 * (z > 0.8)}
    calm = {"loss misread": 0.05 + 0.5 * (z > 0.5) * (z < 1.5), "chance misread": 1 / (1 + np.exp(2.0 - z))}
    for name, chance in chances.items():
        fault = rng.random(z.size) < chance
        without = (rng.random(z.size) < calm[name]).astype(float)
        loss = np.where(fault, np.maximum(without, (rng.random(z.size) < 0.5).astype(float)), without)
        panel, matrix = plain_panel(case, z, loss, np.ones(z.size, bool))
        flagged = np.zeros((z.size, 3), bool)
        flagged[:, 0] = fault
        found = attributable(panel, matrix, flagged, stage=0, fold=np.arange(z.size) % 5, level=0.95)
        true = 1 - without.mean() / loss.mean()
        assert found.fraction == pytest.approx(true, abs=0.025), name


def test_the_change_of_the_input_is_weighed_where_the_model_is_wrong() -> None:
    """The loss is high on either side; the new window is a tilt of the old one, so all of the change is the input's."""
    rng = np.random.default_rng(0)
    z = np.r_[rng.standard_normal(6_000), rng.standard_normal(6_000) + 0.8]
    loss = (rng.random(z.size) < 0.05 + 0.6 * (np.abs(z) > 1.0)).astype(float)
    panel, matrix = plain_panel(simulated(n_traces=20), z, loss, np.arange(z.size) >= 6_000)
    roles = find_roles(panel)
    found = change(panel, roles, matrix, np.arange(z.size) % 5, level=0.95)
    assert found is not None
    assert not found.unweighted
    assert found.answer.delta > 0.06
    assert found.answer.input_delta == pytest.approx(found.answer.delta, abs=0.01)


def test_a_refused_fraction_is_told_and_bounds_the_verdict() -> None:
    case = simulated(n_traces=400, fault=Fault(stage="asr", since=0.0, rate=0.5))
    panel, roles, _, _ = learned(case)
    fine = Attributable(fraction=0.5, low=0.4, high=0.6, effect=0.2, p_value=0.0, refused=None)
    shares = Shares(share=np.array([0.0, 0.6, 0.0]), low=np.zeros(3), high=np.array([0.01, 0.7, 0.01]), input=0.1, unexplained=0.3)
    found = Findings(
        panel=panel,
        roles=roles,
        signal=np.zeros((400, 3)),
        shares=shares,
        fractions=(fine, fine, fine),
        q=np.zeros(3),
        n_faults=np.array([50, 200, 50]),
        n_failures=150,
        change=None,
    )
    assert stage_verdicts(found)[0][1] == "identified"
    refused = replace(found, fractions=(fine, replace(fine, refused="flagged in 60% of the runs with a fault upstream"), fine))
    verdicts, warnings = stage_verdicts(refused)
    assert verdicts[1] == "bounded"
    assert any(one.code == "fraction_refused" and "asr" in one.text for one in warnings)
    few = replace(found, n_faults=np.array([50, 5, 50]), q=np.array([1.0, 0.5, 1.0]))
    assert stage_verdicts(few)[0][1] == "not identifiable"
    moving = replace(found, signal=np.stack([np.arange(400.0), np.arange(400.0), np.zeros(400)], axis=1))
    assert stage_verdicts(moving)[0] == ["not identifiable", "not identifiable", "identified"]
