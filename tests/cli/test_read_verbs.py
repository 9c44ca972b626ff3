"""Every read verb over a stored pipeline: a table for people, one document for machines, the same figures in both."""

import json

import pytest
from tests.cli.conftest import SECOND_NS, START_NS

HALF = ["--since", str(START_NS + 60 * SECOND_NS), "--baseline-until", str(START_NS + 60 * SECOND_NS)]


def test_pipelines(headwater, shop_store):
    code, found, err = headwater("pipelines", "--store", shop_store, "--json")
    assert (code, err) == (0, "")
    assert found["schema"] == "headwater.pipelines/1"
    assert [(one["pipeline"], one["n_traces"], one["stages"]) for one in found["pipelines"]] == [("shop", 120, ["find", "rank"])]
    code, table, _ = headwater("pipelines", "--store", shop_store)
    assert code == 0
    assert "find → rank" in table
    assert "120" in table


def test_graph(headwater, shop_store):
    _, found, _ = headwater("graph", "--store", shop_store, "--json")
    assert found["stages"][0] == "find" or found["stages"][0]["stage"] == "find"
    assert [(edge["from"], edge["to"], edge["calls"]) for edge in found["edges"]] == [("find", "rank", 120)]


def test_latency_adds_up_and_compares(headwater, shop_store):
    code, found, _ = headwater("report", "latency", "--store", shop_store, "--json", *HALF)
    assert code == 0
    assert found["n_traces"] == 60
    for statistic in found["statistics"]:
        assert sum(row["spent_ns"] for row in statistic["components"]) == pytest.approx(statistic["value_ns"], rel=1e-9)
    mean = next(row for row in found["comparison"]["statistics"] if row["statistic"] == "mean")
    assert sum(row["spent_delta_ns"] for row in mean["components"]) == pytest.approx(mean["delta_ns"], abs=1e-3)
    own = {row["component"]: row["own_ns"] for row in mean["components"]}
    assert own["self:rank"] == pytest.approx(30e6, rel=0.01)
    assert abs(own["self:find"]) < 1e3


def test_errors_name_the_stage_whose_version_changed(headwater, shop_store):
    code, found, _ = headwater("report", "errors", "--store", shop_store, "--json", *HALF)
    assert code == 0
    change = found["comparison"]
    parts = sum(row["own_delta"] for row in change["stages"]) + change["input_delta"] + change["unexplained_delta"]
    assert parts == pytest.approx(change["delta"], abs=1e-9)
    assert max(change["stages"], key=lambda row: row["own_delta"])["stage"] == "rank"
    shares = sum(row["blame_share"] for row in found["stages"]) + found["input_share"] + found["unexplained_share"]
    assert shares == pytest.approx(1, abs=1e-9)


def test_why_is_one_sentence_with_the_stage(headwater, shop_store):
    code, sentence, _ = headwater("why", "--store", shop_store, *HALF)
    assert code == 0
    assert sentence.count("\n") == 1
    assert "rank own" in sentence
    _, found, _ = headwater("why", "--store", shop_store, "--json", *HALF)
    assert found["sentence"] == sentence.strip()


def test_trace_by_id_and_all(headwater, shop_store):
    trace_id = f"{1000 + 119:032x}"
    code, found, _ = headwater("trace", trace_id, "--store", shop_store, "--json")
    assert code == 0
    assert found["trace_id"] == trace_id
    assert sum(one["end_ns"] - one["start_ns"] for one in found["segments"]) == found["duration_ns"] == 80_000_000
    blame = found["blame"]
    assert sum(row["own"] for row in blame["stages"]) + blame["input"] + blame["residual"] == pytest.approx(
        blame["loss"] - blame["baseline"], abs=1e-9
    )
    _, text, _ = headwater("trace", trace_id, "--store", shop_store)
    assert "rank" in text
    _, lines, _ = headwater("trace", "--all", "--jsonl", "--store", shop_store)
    documents = [json.loads(line) for line in lines.splitlines()]
    assert len(documents) == 120
    assert {document["schema"] for document in documents} == {"headwater.trace/1"}


def test_doctor_says_all_is_well(headwater, shop_store):
    code, found, _ = headwater("doctor", "--store", shop_store, "--json")
    assert {check["name"] for check in found["checks"]} >= {"spans", "shop: outcomes", "shop: whole traces"}
    assert code == (0 if all(check["ok"] for check in found["checks"]) else 1)


def test_export_gives_back_what_came_in(headwater, shop_store, shop_file, tmp_path):
    for form, name in (("otlp-jsonl", "out.jsonl"), ("parquet", "out.parquet")):
        code, _, err = headwater("export", "--format", form, "-o", tmp_path / name, "--store", shop_store)
        assert (code, "480 spans" in err) == (0, True)
        code, found, _ = headwater("ingest", tmp_path / name, "--store", tmp_path / f"{form}-copy", "--json")
        assert (code, found["accepted"], found["rejected"]) == (0, 480, {})
    code, found, _ = headwater("ingest", shop_file, "--store", tmp_path / "otlp-jsonl-copy", "--json")
    assert (found["accepted"], found["duplicate"]) == (0, 480)


def test_an_outcome_given_late_replaces_the_earlier_one(headwater, shop_file, tmp_path):
    store = tmp_path / "store"
    headwater("ingest", shop_file, "--store", store)
    trace_id = f"{1000 + 1:032x}"
    assert headwater("trace", trace_id, "--store", store, "--json")[1]["blame"]["loss"] == 0.0
    assert headwater("outcome", "add", "run-1", "--loss", "1", "--label", "wrong", "--store", store)[0] == 0
    assert headwater("trace", trace_id, "--store", store, "--json")[1]["blame"]["loss"] == 1.0
    rows = tmp_path / "rows.csv"
    rows.write_text(f"trace_id,loss,judged_at\n{trace_id},0.25,2040-01-01T00:00:00Z\n")
    for _ in range(2):  # importing a file twice changes nothing
        assert headwater("outcome", "import", rows, "--store", store)[0] == 0
    assert headwater("trace", trace_id, "--store", store, "--json")[1]["blame"]["loss"] == 0.25
    assert headwater("pipelines", "--store", store, "--json")[1]["pipelines"][0]["n_outcomes"] == 122


def test_where_keeps_traces_with_the_attribute(headwater, shop_store):
    _, found, _ = headwater("report", "latency", "--store", shop_store, "--where", "headwater.stage.version=2", "--json")
    assert found["n_traces"] == 60
