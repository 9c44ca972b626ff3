"""Symptoms must not accuse, versions and own evidence must, and the test goes by data, not by the name alone."""

from dataclasses import replace

import numpy as np
import pytest
from tests.analysis.error_cases import Case, case_of

from headwater.analysis.evidence import ODD_Z, auc, reference_rows, restless, score, version_deviates
from headwater.analysis.panel import Column, Panel, panel_of
from headwater.analysis.roles import collinear, find_roles, share_missing
from headwater.conventions.attributes import CONFIDENCE, OWN, QUALITY
from headwater.simulate.pipelines import Fault, Traits, chain

ROLE = OWN.of("inconsistency")


def panel(case: Case, *, compare: bool = False) -> Panel:
    if not compare:
        return panel_of(case.traces, case.graph, clusters=case.clusters)
    return panel_of(case.half(second=True), case.graph, baseline=case.half(second=False))


def simulated(seed: int = 3, **kwargs: object) -> Case:
    return case_of(chain(np.random.default_rng(seed), **kwargs))  # type: ignore[arg-type]


def test_late_confidence_and_coverage_are_found_out_as_symptoms() -> None:
    roles = find_roles(panel(simulated(n_traces=500, fault=Fault(stage="vad", rate=0.5, since=0.0))))
    for stage in (1, 2):
        shown = {one.attribute: one for one in roles.evidence[stage]}
        for name in (CONFIDENCE.name, QUALITY.of("coverage")):
            assert not shown[name].used
            assert shown[name].upstream_auc > 0.6
            assert shown[name].role == "symptom"
        assert shown[ROLE].used
        assert shown[ROLE].upstream_auc < 0.6
    assert roles.flagged[:, 1].mean() < 0.05, "asr is not flagged for what vad did"


def test_an_undeclared_attribute_that_nothing_tested_does_not_accuse() -> None:
    roles = find_roles(panel(simulated(n_traces=300)))
    for stage in range(3):
        for one in roles.evidence[stage]:
            assert one.used == (one.role != "symptom")


def test_declared_own_that_tracks_upstream_is_refused_with_a_warning() -> None:
    data = panel(simulated(n_traces=500, fault=Fault(stage="vad", rate=0.5, since=0.0)))
    coverage = next(one for one in data.columns if one.stage == 2 and one.attribute == QUALITY.of("coverage"))
    lie = replace(coverage, attribute=OWN.of("coverage"), role="own", declared=True)
    roles = find_roles(replace(data, columns=(*data.columns, lie)))
    found = next(one for one in roles.evidence[2] if one.attribute == OWN.of("coverage"))
    assert found.declared
    assert not found.used
    assert found.upstream_auc > 0.7
    warning = next(one for one in roles.warnings if one.code == "role_contradicted")
    assert "nlu" in warning.text
    assert roles.odd[:, 2].mean() < 0.05


def test_two_stages_deployed_together_are_not_taken_for_cause_and_symptom() -> None:
    faults = (Fault(stage="vad", since=0.5), Fault(stage="asr", since=0.5))
    roles = find_roles(panel(simulated(n_traces=400, fault=faults), compare=True))
    own = next(one for one in roles.evidence[1] if one.attribute == ROLE)
    assert own.used, "its oddness comes from its own new version, so upstream flags may not refuse it"
    assert np.all(roles.deviates[roles.reference, 1] == 0)


def test_inverted_evidence_is_odd_too() -> None:
    data = panel(simulated(n_traces=400, fault=Fault(stage="asr", rate=0.3, since=0.0)))
    upside_down = replace(data, columns=tuple(replace(one, values=-one.values) if one.attribute == ROLE else one for one in data.columns))
    straight, inverted = find_roles(data), find_roles(upside_down)
    assert straight.odd[:, 1].sum() > 60
    np.testing.assert_array_equal(straight.odd, inverted.odd)


def test_scale_and_shift_of_evidence_do_not_matter() -> None:
    data = panel(simulated(n_traces=300, fault=Fault(stage="asr", rate=0.3, since=0.0)))
    moved = replace(data, columns=tuple(replace(one, values=1e4 * one.values + 7) if one.attribute == ROLE else one for one in data.columns))
    np.testing.assert_array_equal(find_roles(data).odd, find_roles(moved).odd)


def test_the_reference_is_the_baseline_else_the_successes() -> None:
    case = simulated(n_traces=200, fault="asr")
    both = panel(case, compare=True)
    np.testing.assert_array_equal(reference_rows(both), ~both.current)
    alone = panel(case)
    np.testing.assert_array_equal(reference_rows(alone), alone.loss == 0)


def test_a_new_version_deviates_from_the_baseline_and_a_skipped_stage_does_not() -> None:
    case = simulated(n_traces=200, fault=Fault(stage="asr", rate=0.5))
    data = panel(case, compare=True)
    deviates = version_deviates(data, reference_rows(data))
    late = case.place >= 100
    hit = case.truth.faulty[case.place[late], 1]
    np.testing.assert_array_equal(deviates[data.current, 1], hit)
    assert not deviates[~data.current].any()
    assert not deviates[:, [0, 2]].any()
    skipped = replace(data, version=np.where(np.arange(3) == 1, -1, data.version))
    assert not version_deviates(skipped, reference_rows(skipped))[:, 1].any()


def test_the_reference_version_is_the_better_one_even_where_the_fault_is_the_majority() -> None:
    case = simulated(n_traces=300, fault=Fault(stage="asr", since=0.2))
    data = panel(case)
    deviates = version_deviates(data, reference_rows(data))
    np.testing.assert_array_equal(deviates[:, 1], case.truth.faulty[case.place, 1])


def test_a_version_per_run_says_nothing() -> None:
    assert restless(np.arange(100))
    assert not restless(np.arange(100) % 4)
    assert not restless(np.repeat(np.arange(25), 40))


def test_steady_evidence_and_short_references() -> None:
    column = Column(stage=0, attribute=ROLE, role="own", declared=True, values=np.r_[np.zeros(50), 0.4])
    data = panel(simulated(n_traces=51))
    rows = np.arange(51) < 50
    assert abs(score(replace(data, difficulty=np.empty((51, 0))), column, rows).z[-1]) > ODD_Z
    few = score(data, column, np.arange(51) < 7)
    assert not few.odd.any()


def test_missing_values_are_not_odd_and_are_counted() -> None:
    data = panel(simulated(n_traces=200))
    gaps = np.arange(200) % 2 == 0
    holed = replace(data, columns=tuple(replace(one, values=np.where(gaps, np.nan, one.values)) for one in data.columns if one.attribute == ROLE))
    roles = find_roles(holed)
    assert not roles.odd[gaps].any()
    assert share_missing(holed, roles.scores, 0) == pytest.approx(0.5)
    assert np.isnan(share_missing(holed, (), 0))


def test_auc_by_hand() -> None:
    assert auc(np.array([1.0, 1.0, 2.0, 0.0]), np.array([True, False, True, False])) == pytest.approx((0.5 + 1 + 1 + 1) / 4)
    assert np.isnan(auc(np.array([1.0]), np.array([True])))


def test_stages_that_move_together_are_paired() -> None:
    one = np.random.default_rng(0).standard_normal(200)
    signal = np.stack([one, 2 * one + 1e-3, np.zeros(200), np.random.default_rng(1).standard_normal(200)], axis=1)
    assert collinear(signal) == ((0, 1),)


def test_without_versions_and_evidence_nothing_is_flagged() -> None:
    roles = find_roles(panel(simulated(n_traces=200, fault="asr", traits=Traits(versions=False, evidence=False))))
    assert not roles.flagged.any()
    assert not roles.has_version(1)
    assert not roles.has_evidence(1)
