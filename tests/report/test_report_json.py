"""Documents against json-contract.md: every key, null for unknown, hex ids, and sums that are checked again where they are read."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.dashboard import factories as make

from headwater.model.errors import InvariantError, UnknownPipelineError
from headwater.model.traces import DEFECTS, Defects
from headwater.report.json import (
    alerts_document,
    doctor_document,
    error_document,
    errors_document,
    graph_document,
    health_document,
    latency_document,
    overview_document,
    pipelines_document,
    trace_document,
    traces_document,
)
from headwater.report.overview_json import log_edges

# The contract, key by key. "…?" marks a key that may be null; further keys are allowed (extend, never rename).
LATENCY = {
    "schema": str,
    "pipeline": str,
    "n_traces": int,
    "n_effective": float,
    "weights": str,
    "completeness": {"orphans": int},
    "level": float,
    "statistics": [
        {
            "statistic": str,
            "value_ns": float,
            "interval_ns": [float],
            "components": [{"component": str, "spent_ns": float, "interval_ns": [float], "on_path_share": float, "drag_ns?": float}],
        }
    ],
    "comparison": {
        "statistics": [
            {
                "statistic": str,
                "baseline_ns": float,
                "current_ns": float,
                "delta_ns": float,
                "components": [
                    {
                        "component": str,
                        "spent_delta_ns": float,
                        "own_ns": float,
                        "inherited_ns": dict,
                        "mix_ns": float,
                        "interval_ns": [float],
                        "own_interval_ns": [float],
                        "flagged": bool,
                    }
                ],
            }
        ]
    },
    "stages": [{"stage": str, "calls": int, "p50_ns": float, "p95_ns": float, "p99_ns": float, "error_rate": float, "cpu_ns?": float}],
    "warnings": [{"code": str, "text": str}],
}
ERRORS = {
    "schema": str,
    "pipeline": str,
    "outcome": str,
    "n_traces": int,
    "n_labelled": int,
    "mean_loss": float,
    "interval": [float],
    "stages": [
        {
            "stage": str,
            "blame_share": float,
            "blame_interval?": [float],
            "attributable_fraction?": float,
            "attributable_interval?": [float],
            "fixable_loss?": float,
            "q_value": float,
            "n_faults": int,
            "verdict": str,
            "evidence": [{"attribute": str, "role": str, "declared": bool, "upstream_auc?": float, "used": bool}],
        }
    ],
    "input_share": float,
    "unexplained_share": float,
    "edges": [{"from": str, "to": str, "rate_given_error": float, "rate_baseline": float, "risk_ratio": float, "gain?": float, "effect": str}],
    "comparison": {
        "baseline_loss": float,
        "current_loss": float,
        "delta": float,
        "input_delta": float,
        "unexplained_delta": float,
        "stages": [{"stage": str, "own_delta": float, "interval": [float], "q_value": float, "flagged": bool, "inherited_delta": float}],
    },
    "verdict": str,
    "warnings": [{"code": str, "text": str}],
    "sentence": str,
}
TRACE = {
    "schema": str,
    "trace_id": str,
    "pipeline": str,
    "start_ns": int,
    "duration_ns": int,
    "partial": bool,
    "defects": {"orphans": int, "duplicates": int, "skewed": int, "cycles": int},
    "segments": [{"component": str, "stage?": str, "span_id": str, "start_ns": int, "end_ns": int, "flags": [str]}],
    "components": [{"component": str, "time_ns": int}],
    "after_response_ns": int,
    "stages": [
        {
            "stage": str,
            "span_id": str,
            "self_ns": int,
            "path_ns": int,
            "confidence": float,
            "quality": {"speech_ratio": float},
            "model_version": str,
            "status": str,
            "outcome": str,
        }
    ],
    "blame": {
        "outcome": str,
        "loss": float,
        "baseline": float,
        "input": float,
        "residual": float,
        "introduced_by": str,
        "missed_by": [str],
        "verdict": str,
        "unattributed": float,
        "stages": [{"stage": str, "own": float, "inherited": float, "share": float}],
    },
    "jaeger_url": str,
}
INCIDENT = {
    **dict.fromkeys(("incident_id", "state", "kind", "severity"), str),
    "rate?": str,
    "origin": [str],
    "path": [str],
    "signals": [str],
    "change_at_ns": int,
    "change_interval_ns?": [int],
    "detected_at_ns": int,
    "resolved_at_ns?": int,
    "effect": {"before?": float, "after?": float, "interval": [float], "unit": str},
    "final_loss_cost?": float,
    "latency_cost_ns?": float,
    "explained": [str],
    "exemplars": [str],
    "versions": dict,
}
OVERVIEW = {
    "schema": str,
    "sentence": str,
    "pipeline": str,
    "pipelines": [{"pipeline": str}],
    "window": {"start_at_ns?": int, "end_at_ns?": int, "where": list},
    "baseline_window": {"start_at_ns?": int},
    "outcome": str,
    "graph": {"stages": [{"stage": str, "calls": int}], "edges": [{"from": str, "to": str, "calls": int, "declared": bool}]},
    "latency": LATENCY,
    "errors": ERRORS,
    "plots": {
        "component_latency": {
            "edges_ns": [float],
            "stages": [{"stage": str, "current": {"n": int, "counts": [int], "p50_ns": float, "p95_ns": float}, "baseline": {"counts": [int]}}],
        },
        "error_latency": [
            {"stage": str, "calls": int, "p50_ns": float, "error_rate": float, "fault_rate": float, "blame_share": float, "verdict": str}
        ],
        "data_flow": {"edges_at_ns": [int], "stages": [{"stage": str, "calls": [int], "errors": [int]}]},
    },
    "alerts": [INCIDENT],
    "exemplars": {"failed": [str], "slowest": [str]},
}


def check(found: object, wanted: object, place: str = "$") -> None:
    if isinstance(wanted, dict):
        assert isinstance(found, dict), place
        for key, inside in wanted.items():
            name = key.removesuffix("?")
            assert name in found, f"{place}.{name} is missing"
            if found[name] is None:
                assert key.endswith("?"), f"{place}.{name} is null"
            else:
                check(found[name], inside, f"{place}.{name}")
    elif isinstance(wanted, list):
        assert isinstance(found, list), place
        for row, value in enumerate(found):
            check(value, wanted[0], f"{place}[{row}]")
    else:
        assert isinstance(wanted, type)
        kinds = (int, float) if wanted is float else (wanted,)
        assert isinstance(found, kinds), f"{place} is {type(found).__name__}"
        assert wanted is bool or not isinstance(found, bool), f"{place} is a bool"


def strict(document: object) -> object:
    """Through JSON and back: no NaN, no numpy, keys kept."""
    return json.loads(json.dumps(document, allow_nan=False))


@pytest.mark.parametrize(
    ("document", "contract", "schema"),
    [
        (latency_document(make.latency()), LATENCY, "headwater.report.latency/1"),
        (errors_document(make.errors()), ERRORS, "headwater.report.errors/1"),
        (trace_document(make.trace_answer()), TRACE, "headwater.trace/1"),
        (overview_document(make.overview()), OVERVIEW, "headwater.overview/1"),
        (alerts_document(make.alerts(), pipeline="speech"), {"incidents": [INCIDENT]}, "headwater.alerts/1"),
    ],
    ids=["latency", "errors", "trace", "overview", "alerts"],
)
def test_every_key_of_the_contract_is_there_with_its_type(document: dict[str, object], contract: object, schema: str) -> None:
    found = strict(document)
    check(found, contract)
    assert found == document, "a value changed on its way through JSON"
    assert document["schema"] == schema


def test_a_missing_comparison_is_null_and_not_absent() -> None:
    assert latency_document(make.latency(compared=False))["comparison"] is None
    assert errors_document(make.errors(compared=False))["comparison"] is None
    overview = overview_document(make.overview(compared=False, labelled=False))
    assert overview["errors"] is None
    assert overview["baseline_window"] is None
    assert overview["errors_missing"] == "no run of this window has an outcome"
    assert overview["alerts"] == []


def test_unknown_numbers_are_null() -> None:
    document = errors_document(make.no_outcomes())
    assert document["mean_loss"] is None
    assert document["interval"] is None
    assert document["stages"][0]["blame_share"] is None
    assert document["stages"][0]["blame_interval"] is None
    assert strict(document) == document
    latency = latency_document(make.latency())
    assert latency["stages"][1]["cpu_ns"] is None
    assert latency["statistics"][0]["components"][1]["drag_ns"] is None


def test_half_an_interval_is_no_interval() -> None:
    report = make.errors()
    stage = replace(report.stages[0], blame_low=float("nan"))
    assert errors_document(replace(report, stages=(stage, *report.stages[1:])))["stages"][0]["blame_interval"] is None


def test_parts_of_every_statistic_add_up() -> None:
    document = latency_document(make.latency())
    for statistic in document["statistics"]:
        total = sum(row["spent_ns"] for row in statistic["components"])
        assert abs(total - statistic["value_ns"]) <= 1e-9 * statistic["value_ns"]
    for change in document["comparison"]["statistics"]:
        assert abs(sum(row["spent_delta_ns"] for row in change["components"]) - change["delta_ns"]) <= 1e-6


def test_each_interval_bounds_its_own_figure() -> None:
    row = latency_document(make.latency())["comparison"]["statistics"][0]["components"][3]
    assert (row["component"], row["spent_delta_ns"], row["own_ns"]) == ("self:nlu", 4.9e6, 0.9e6)
    assert row["interval_ns"] == [4.9e6 - 8e6, 4.9e6 + 9e6]
    assert row["own_interval_ns"] == [0.9e6 - 7e6, 0.9e6 + 8e6]
    vad = errors_document(make.errors())["stages"][1]
    assert vad["blame_interval"] == [0.12 - 0.07, 0.12 + 0.08]
    assert vad["attributable_interval"] == [0.7 * 0.12, 1.1 * 0.12]


def test_a_latency_change_that_misses_its_delta_is_refused() -> None:
    report = make.latency()
    assert report.comparison is not None
    bent = replace(report.comparison[0], delta_ns=report.comparison[0].delta_ns + 1e3)
    with pytest.raises(InvariantError, match="miss the total"):
        latency_document(replace(report, comparison=(bent,)))


def test_a_statistic_whose_parts_belong_to_another_total_is_refused() -> None:
    report = make.latency()
    bent = replace(report.statistics[0], value_ns=report.statistics[0].value_ns * 1.01)
    with pytest.raises(InvariantError, match="miss the total"):
        latency_document(replace(report, statistics=(bent,)))


def test_trace_segments_are_disjoint_and_sum_to_the_duration() -> None:
    document = trace_document(make.trace_answer())
    ends = [document["start_ns"], *(segment["end_ns"] for segment in document["segments"])]
    assert [segment["start_ns"] for segment in document["segments"]] == ends[:-1]
    assert ends[-1] == document["start_ns"] + document["duration_ns"]
    assert sum(row["time_ns"] for row in document["components"]) == document["duration_ns"]
    assert document["segments"][1]["flags"] == ["overlap"]
    assert document["segments"][0]["stage"] is None


def test_trace_blame_adds_up_and_names_the_origin() -> None:
    blame = trace_document(make.trace_answer())["blame"]
    assert abs(sum(row["own"] for row in blame["stages"]) + blame["input"] + blame["residual"] - (blame["loss"] - blame["baseline"])) < 1e-9
    assert abs(sum(row["share"] for row in blame["stages"]) + blame["unattributed"] - 1) < 1e-9
    assert blame["introduced_by"] == "asr"
    nobody = replace(make.trace_blame(), introduced_by=np.array([-1], np.int64))
    assert trace_document(replace(make.trace_answer(), blame=nobody))["blame"]["introduced_by"] is None


def test_ids_are_padded_hex_and_stages_carry_their_evidence_under_its_own_name() -> None:
    document = trace_document(make.trace_answer())
    assert document["trace_id"] == make.TRACE_HEX
    assert document["spans"][0]["span_id"] == "1000000000000001"
    assert document["spans"][1]["parent_span_id"] == "1000000000000001"
    assert document["spans"][0]["parent_span_id"] is None
    capture = document["stages"][0]
    assert (capture["stage"], capture["model_version"], capture["status"], capture["outcome"]) == ("capture", "capture-2026.3", "ok", "ok")
    assert capture["quality"] == {"dropped_p": 0.12, "speech_ratio": 0.4}
    assert capture["difficulty"] == {"snr_db": 9.5}
    assert document["stages"][-1]["status"] == "error"
    assert document["spans"][1]["attributes"]["headwater.confidence"] == 0.95


def test_a_trace_without_outcome_says_why_there_is_no_blame() -> None:
    document = trace_document(make.trace_answer(blamed=False))
    assert document["blame"] is None
    assert document["blame_missing"] == "this run has no outcome yet"


def test_defects_are_all_counted() -> None:
    counts = {name: np.array([place], np.int32) for place, name in enumerate(DEFECTS)}
    document = trace_document(make.trace_answer(partial=True, defects=Defects(**counts)))
    assert document["defects"] == {name: place for place, name in enumerate(DEFECTS)}
    assert document["partial"] is True


def test_graph_names_its_edges() -> None:
    document = graph_document(make.graph(edges=[(0, 1), (0, 2), (1, 3), (2, 3)]))
    assert [(edge["from"], edge["to"]) for edge in document["edges"]] == [("capture", "vad"), ("capture", "asr"), ("vad", "nlu"), ("asr", "nlu")]
    assert document["acyclic"] is True
    assert graph_document(make.graph(edges=[(0, 1), (1, 0)]))["acyclic"] is False


def test_small_documents() -> None:
    summary = pipelines_document([make.summary()])["pipelines"][0]
    assert summary["pipeline"] == "speech"
    assert summary["stages"] == list(make.STAGES)
    assert (summary["n_traces"], summary["n_spans"], summary["n_outcomes"]) == (900, 4500, 855)
    doctor = doctor_document(make.health().checks)
    assert doctor["ok"] is False
    assert doctor["checks"][1] == {
        "name": "jaeger",
        "ok": False,
        "text": "Jaeger does not answer at http://127.0.0.1:16686",
        "next": "docker compose up jaeger",
    }
    assert doctor_document([])["ok"] is True
    assert health_document(make.health(lag_ns=None))["lag_ns"] is None
    error = error_document(UnknownPipelineError.among("ars", ("asr",)))
    assert error["schema"] == "headwater.error/1"
    assert (error["code"], error["next"], error["exit_code"]) == ("unknown_pipeline", "headwater pipelines", 2)
    assert "known: asr" in error["text"]


def test_lists_of_traces_keep_their_order_and_unknown_losses() -> None:
    rows = make.FixedAnswers().recent(make.query(), 5)
    document = traces_document("speech", rows)
    assert [row["trace_id"] for row in document["traces"]] == [make.TRACE_HEX, make.OTHER_HEX]
    assert [row["loss"] for row in document["traces"]] == [1.0, None]


def test_histograms_hold_every_sample_over_one_axis() -> None:
    samples = [np.array([1.0, 10.0, 1e9]), np.array([5e3, np.nan, 0.0])]
    edges = log_edges(samples)
    assert edges[0] <= 1.0
    assert edges[-1] > 1e9
    assert np.all(np.diff(edges) > 0)
    plot = overview_document(make.overview())["plots"]["component_latency"]
    for row in plot["stages"]:
        assert sum(row["current"]["counts"]) == row["current"]["n"] == 900
        assert len(row["current"]["counts"]) == len(plot["edges_ns"]) - 1
    assert log_edges([]).size == 0
    assert log_edges([np.array([np.nan])]).size == 0


def test_an_equal_sample_of_one_value_still_has_a_bin() -> None:
    edges = log_edges([np.full(3, 5e6)])
    assert edges.size >= 2
    assert edges[0] <= 5e6 < edges[-1]


def test_incident_ids_are_stable_and_tell_kinds_apart() -> None:
    first, second = alerts_document(make.alerts(), pipeline="speech")["incidents"]
    again = alerts_document(make.alerts(), pipeline="speech")["incidents"][0]
    other = alerts_document(make.alerts(), pipeline="other")["incidents"][0]
    assert first["incident_id"] == again["incident_id"]
    assert len({first["incident_id"], second["incident_id"], other["incident_id"]}) == 3
    assert first["final_loss_cost"] == 0.026
    assert first["latency_cost_ns"] is None
    assert second["latency_cost_ns"] == 231e6
