"""Expected loss and blame of one trace: no leak of the label, symptoms steal nothing, orders averaged, misses noticed."""

from dataclasses import replace

import numpy as np
import pytest
from tests.analysis.error_cases import Case, analysed, case_of

from headwater.analysis.blame import earliest_flagged, increments, introduced_by, symmetric, trace_blame
from headwater.analysis.evidence import Score, score
from headwater.analysis.expected_loss import Design, Parts, cross_fit, design, expit, fit, folds, hinges
from headwater.analysis.panel import Column, panel_of
from headwater.analysis.roles import Roles, find_roles
from headwater.conventions.attributes import CONFIG_DIGEST, QUALITY
from headwater.model.spans import TextColumn
from headwater.simulate.pipelines import Fault, Traits, chain, diamond

CHAIN = np.arange(3, dtype=np.int64)


def simulated(seed: int = 3, **kwargs: object) -> Case:
    return case_of(chain(np.random.default_rng(seed), **kwargs))  # type: ignore[arg-type]


def parts(base: list[float], effect: list[list[float]]) -> Parts:
    return Parts(link="logit", base=np.array(base), effect=np.array(effect))


def share_of(case: Case, roles_of: object = None) -> np.ndarray:
    """Mean share over failures by truth's own culprit columns, with roles found or overridden."""
    panel = panel_of(case.traces, case.graph, clusters=case.clusters)
    roles = find_roles(panel) if roles_of is None else roles_of(panel)  # type: ignore[operator]
    fitted = cross_fit(panel, design(panel, roles), folds(panel.cluster, np.random.default_rng(0)), link="logit")
    found = increments(fitted, panel.level, 0.1, np.random.default_rng(0))
    return found.share[panel.loss > 0].mean(axis=0)


def all_accuse(panel: object) -> Roles:
    """What a regression over everything a stage showed does."""
    roles = find_roles(panel)  # type: ignore[arg-type]
    scores = tuple(score(panel, column, roles.reference) for column in panel.columns)  # type: ignore[attr-defined, arg-type]
    odd = np.stack([np.any([one.odd for one in scores if one.column.stage == s], axis=0) for s in range(len(panel.stages))], axis=1)  # type: ignore[attr-defined]
    return replace(roles, scores=scores, odd=odd)


def test_a_symptom_steals_no_blame() -> None:
    case = simulated(n_traces=600, fault=Fault(stage="vad", since=0.0, rate=0.4), traits=Traits(versions=False))
    truth = case.truth.shapley.sum(axis=0)[0] / case.truth.loss.sum()
    ours, naive = share_of(case), share_of(case, all_accuse)
    assert abs(ours[0] - truth) < 0.1
    assert ours[1:].sum() < 0.05
    assert naive[1:].sum() > 0.2, "without roles the late stages soak it up, so this test would notice"


def test_cross_fitting_does_not_leak_the_label() -> None:
    """Random labels, shared within a cluster, and a column that names the cluster: only a fit that saw the cluster could use it."""
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(40), 5)
    panel = panel_of(simulated(n_traces=200).traces, simulated(n_traces=200).graph)
    panel = replace(panel, cluster=cluster.astype(np.int64), loss=np.repeat(rng.integers(0, 2, 40), 5).astype(float))
    matrix = Design(x=20.0 * np.eye(40)[cluster], player=np.ones(40, np.int64))
    whole = cross_fit(panel, matrix, folds(panel.cluster, rng), link="logit")
    split = cross_fit(panel, matrix, rng.integers(0, 10, 200), link="logit")

    def apart(one: Parts) -> float:
        value = expit(one.base + one.effect.sum(axis=1))
        return float(value[panel.loss == 1].mean() - value[panel.loss == 0].mean())

    assert apart(whole) < 0.05
    assert apart(split) > 0.5, "folds that split clusters leak, so this test would notice"


def test_folds_keep_clusters_whole_and_ignore_row_order() -> None:
    cluster = np.random.default_rng(0).integers(0, 30, 200)
    fold = folds(cluster, np.random.default_rng(5))
    assert all(np.unique(fold[cluster == one]).size == 1 for one in np.unique(cluster))
    assert np.unique(fold).size == 10
    order = np.random.default_rng(1).permutation(200)
    np.testing.assert_array_equal(folds(cluster[order], np.random.default_rng(5)), fold[order])
    assert np.unique(folds(np.zeros(9, np.int64), np.random.default_rng(0))).tolist() == [0]


def test_logit_recovers_known_coefficients() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (20_000, 2)).astype(float)
    y = (rng.random(20_000) < expit(-2 + x @ np.array([1.5, 0.0]))).astype(float)
    np.testing.assert_allclose(fit(x, y, np.ones(20_000), "logit"), [-2, 1.5, 0], atol=0.12)


def test_fit_survives_separation_constants_and_nothing_to_learn() -> None:
    x = np.r_[np.zeros(20), np.ones(20)][:, None]
    beta = fit(x, x[:, 0], np.ones(40), "logit")
    assert np.all(np.isfinite(beta))
    assert expit(beta[:1])[0] < 0.2
    assert expit(beta.sum(keepdims=True))[0] > 0.8
    assert 0 < expit(fit(x, np.zeros(40), np.ones(40), "logit")[:1])[0] < 0.05
    np.testing.assert_allclose(fit(x, 3 + 2 * x[:, 0], np.ones(40), "identity").sum(), 5, atol=0.2)


def test_forward_increments_by_hand() -> None:
    one = parts([0.0], [[1.0, 0.0, -0.5]])
    found = increments(one, CHAIN, 0.25, np.random.default_rng(0))
    m = expit(np.array([0.0, 1.0, 1.0, 0.5]))
    np.testing.assert_allclose(found.own[0], np.diff(m), atol=1e-15)
    np.testing.assert_allclose(found.inherited[0], m[:-1] - 0.25, atol=1e-15)
    np.testing.assert_allclose(found.input_share[0] + 0 * m[0], (0.5 - 0.25) / (0.5 + symmetric(one, np.random.default_rng(0))[0, 0]), atol=1e-12)


def test_parallel_stages_are_treated_alike() -> None:
    same = parts([-3.0], [[0.0, 2.0, 2.0, 0.0, 0.0]])
    found = increments(same, np.array([0, 1, 1, 2, 3]), 0.1, np.random.default_rng(0))
    assert found.own[0, 1] == pytest.approx(found.own[0, 2], abs=1e-15)
    forward = increments(same, np.arange(5), 0.1, np.random.default_rng(0))
    assert forward.own[0, 1] != pytest.approx(forward.own[0, 2], abs=1e-3)
    assert found.own.sum() == pytest.approx(forward.own.sum(), abs=1e-15)


def test_symmetric_sums_and_orders_agree_beyond_six_stages() -> None:
    rng = np.random.default_rng(0)
    for s in (3, 6, 8):
        one = Parts(link="logit", base=rng.normal(-2, 1, 50), effect=rng.normal(0, 1, (50, s)))
        psi = symmetric(one, rng)
        np.testing.assert_allclose(psi.sum(axis=1), expit(one.base + one.effect.sum(axis=1)) - expit(one.base), atol=1e-12)
    two = parts([-3.0], [[4.0, 4.0]])
    np.testing.assert_allclose(symmetric(two, rng)[0, 0], symmetric(two, rng)[0, 1], atol=1e-15)


def test_shares_stay_in_the_simplex_when_a_stage_absorbs() -> None:
    found = increments(parts([-1.0, -1.0], [[3.0, -2.0, 1.0], [-1.0, -1.0, -1.0]]), CHAIN, 0.1, np.random.default_rng(0))
    assert np.all(found.share >= 0)
    assert np.all(found.share.sum(axis=1) + found.input_share <= 1 + 1e-12)
    np.testing.assert_array_equal(found.share[1], 0)
    assert found.own[0, 1] < 0


def test_introduced_by_wants_harm_and_the_floor_does_not() -> None:
    share = np.array([[0.01, 0.6, 0.0], [0.3, 0.5, 0.0], [0.0, 0.0, 0.9], [0.02, 0.0, 0.0]])
    flagged = np.array([[True, True, False], [True, True, False], [False, False, False], [True, False, False]])
    np.testing.assert_array_equal(introduced_by(share, flagged, CHAIN), [1, 0, -1, -1])
    np.testing.assert_array_equal(earliest_flagged(share, flagged, CHAIN), [0, 0, -1, 0])
    np.testing.assert_array_equal(introduced_by(share[1:2], flagged[1:2], np.zeros(3, np.int64)), [1])
    assert introduced_by(np.empty((2, 0)), np.empty((2, 0), bool), np.empty(0, np.int64)).tolist() == [-1, -1]


def test_a_harmless_new_version_is_flagged_but_not_accused() -> None:
    faults = (Fault(stage="vad", since=0.0, rate=0.5, harmless=True), Fault(stage="asr", since=0.0, rate=0.5))
    case = simulated(n_traces=600, fault=faults)
    answer = analysed(case)
    failed = answer.blame.loss > 0
    assert answer.blame.flagged[failed, 0].mean() > 0.3
    assert np.mean(answer.blame.introduced_by[failed] == 0) < 0.05
    vad = answer.report.stages[0]
    assert vad.blame_share < 0.05
    assert vad.q_value > 0.05 or vad.attributable_fraction < 0.05


def test_failures_of_the_hard_segment_are_nobodys() -> None:
    case = simulated(n_traces=800, fault=Fault(stage="asr", since=0.0, rate=0.3))
    answer = analysed(case)
    blame, truth = answer.blame, case.truth
    place = case.place
    nobodys = (truth.loss > 0)[place] & (truth.culprit[place] < 0) & ~truth.faulty[place].any(axis=1)
    assert np.mean(blame.introduced_by[nobodys] >= 0) < 0.05
    assert blame.unattributed[nobodys].mean() > 0.95
    guilty = truth.culprit[place] >= 0
    assert np.mean(blame.introduced_by[guilty] == truth.culprit[place][guilty]) > 0.95


def test_a_qc_stage_that_took_harm_back_has_not_missed_it() -> None:
    case = case_of(diamond(np.random.default_rng(2), n_traces=30))
    panel = replace(panel_of(case.traces, case.graph), loss=np.ones(30))
    quality = panel.stages.index("quality")
    effect = np.zeros((30, 5))
    effect[:, panel.stages.index("detector")] = 3.0
    effect[:15, quality] = -0.5
    found = increments(Parts(link="logit", base=np.full(30, -2.0), effect=effect), panel.level, 0.1, np.random.default_rng(0))
    blame = trace_blame(panel, found, effect > 0, introduced=np.zeros(30, np.int64), verdict="identified")
    np.testing.assert_array_equal(blame.missed_by[:, quality], np.arange(30) >= 15)


def test_each_direction_of_a_score_has_its_own_slope() -> None:
    column = Column(stage=0, attribute="headwater.own.x", role="own", declared=True, values=np.zeros(5))
    up, down = hinges(Score(column=column, z=np.array([-7.0, -3.5, 0.0, 3.5, 70.0]), threshold=3.5))
    np.testing.assert_allclose(up, [0, 0, 0, 1, 2])
    np.testing.assert_allclose(down, [2, 1, 0, 0, 0])


def test_a_qc_stage_that_lets_a_failure_through_has_missed_it() -> None:
    case = case_of(diamond(np.random.default_rng(2), n_traces=500, fault=Fault(stage="detector", since=0.0, rate=0.5, strength=6.0)))
    blame = analysed(case).blame
    detector, quality = blame.stages.index("detector"), blame.stages.index("quality")
    failed = (blame.loss > 0) & blame.flagged[:, detector] & ~blame.flagged[:, quality]
    assert blame.missed_by[failed, quality].mean() > 0.8
    assert not blame.missed_by[:, [stage for stage in range(5) if stage != quality]].any()
    assert not blame.missed_by[blame.loss == 0].any()


def test_baseline_is_unflagged_traffic_not_the_mixed_mean() -> None:
    case = simulated(n_traces=600, fault=Fault(stage="asr", since=0.0, rate=0.5))
    answer = analysed(case)
    assert answer.report.mean_loss > 0.3
    assert abs(answer.blame.baseline[0] - case.truth.healthy_loss.mean()) < 0.05


def test_canaries_are_kept_out() -> None:
    case = simulated(n_traces=100, fault="asr")
    spans = case.traces.spans
    marked = replace(spans, numbers={**spans.numbers, "headwater.canary": np.where(case.traces.trace_of_row() < 20, 1.0, np.nan)})
    answer = analysed(Case(traces=replace(case.traces, spans=marked), graph=case.graph, truth=case.truth, place=case.place))
    assert answer.report.n_labelled == 80
    assert np.isnan(answer.blame.loss[:20]).all()


def test_retries_the_last_version_counts_and_the_worst_number() -> None:
    case = simulated(n_traces=60)
    panel = panel_of(case.traces, case.graph)
    spans = case.traces.spans
    assert all(np.isnan(one.values).sum() == 0 for one in panel.columns)
    coverage = spans.number(QUALITY.of("coverage")).copy()
    rows = np.flatnonzero(spans.stage.codes == spans.stage.code_of("asr"))
    coverage[rows[3]] = -50.0
    doubled = spans.take(np.arange(len(spans)))
    codes = doubled.stage.codes.copy()
    late = np.flatnonzero(spans.stage.codes == spans.stage.code_of("nlu"))
    codes[late] = spans.stage.code_of("asr")  # a second asr span in every trace: a retry
    digest = TextColumn.of(["late" if row in set(late.tolist()) else "early" for row in range(len(spans))])
    texts = {CONFIG_DIGEST.name: digest}
    numbers = {**spans.numbers, QUALITY.of("coverage"): coverage}
    retried = replace(spans, stage=replace(spans.stage, codes=codes), numbers=numbers, texts=texts)
    again = panel_of(replace(case.traces, spans=retried), case.graph)
    worst = next(one for one in again.columns if one.stage == 1 and one.attribute == QUALITY.of("coverage"))
    assert worst.values.min() == -50.0
    assert not again.present[:, 2].any()
    assert np.unique(again.version[:, 1]).size == 1
    alone = panel_of(replace(case.traces, spans=replace(spans, texts=texts)), case.graph)
    assert again.version_names[1] == alone.version_names[2] == (CONFIG_DIGEST.name,)
    both = np.unique(digest.codes[np.r_[rows, late]])
    assert both.size == 2, "both digests occur, the last one counts"
    assert again.version[0, 1] == digest.codes[late[0]] - digest.codes[np.r_[rows, late]].min()
