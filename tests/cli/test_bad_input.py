"""Each bad input: a clear sentence, the next command, the right exit code, and nothing lost."""

import json

import pytest

from headwater.cli.app import run


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["bogus"], 2, "No such command 'bogus'.\nnext: headwater --help"),
        (["report"], 2, "next: headwater report --help"),
        (["why"], 3, "holds no traces yet"),
        (["pipelines", "--url", "http://127.0.0.1:9"], 4, "next: headwater serve"),
        (["why", "--url", "nonsense"], 4, "no headwater service answers at nonsense"),
        (["ingest", "missing.pb"], 2, "missing.pb could not be opened: No such file or directory"),
        (["export", "--format", "bogus"], 2, "'otlp-jsonl', 'parquet'"),
        (["serve", "--host", "0.0.0.0"], 2, "reachable from other machines"),
        (["serve", "--http-port", "99999"], 2, "--http-port"),
        (["outcome", "add", "x", "--loss", "nan"], 2, "loss"),
        (["outcome", "import", "missing.csv"], 2, "No such file"),
        (["trace"], 2, "no trace was named"),
    ],
)
def test_a_sentence_and_an_exit_code(headwater, arguments, code, said):
    found, out, err = headwater(*arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["report", "errors", "--pipeline", "shpo"], 2, "pipeline 'shpo' is not in this store; known: shop"),
        (["report", "latency", "--since", "someday"], 2, "'someday' is not an instant"),
        (["report", "latency", "--until", "2001-01-02"], 2, "ends before it starts"),
        (["report", "latency", "--since", "2001-01-01", "--until", "2001-01-02"], 3, "no run of 'shop' started in this window"),
        (["report", "errors", "--cluster", "nobody"], 2, "no root span in this window has the attribute 'nobody'"),
        (["report", "errors", "--outcome", "taste"], 3, "next: headwater outcome import"),
        (["report", "errors", "--where", "nosign"], 2, "--where key=value"),
        (["trace", "xyz"], 2, "not a trace id"),
        (["trace", "f" * 32], 2, "not in this store"),
        (["trace", "1" * 32, "2" * 32, "--json"], 2, "use --jsonl"),
    ],
)
def test_questions_that_cannot_be_answered(headwater, shop_store, arguments, code, said):
    found, _, err = headwater(*arguments, "--store", shop_store)
    assert found == code
    assert said in err


def test_with_json_the_error_is_a_document_on_stderr(headwater):
    code, out, err = headwater("why", "--json")
    found = json.loads(err)
    assert (code, out) == (3, "")
    assert (found["schema"], found["code"]) == ("headwater.error/1", "empty_store")
    assert found["next"]


def test_a_file_that_is_no_trace_file_takes_nothing_and_loses_nothing(headwater, shop_file, tmp_path):
    store, bad = tmp_path / "store", tmp_path / "bad.txt"
    bad.write_text("hello\n")
    headwater("ingest", shop_file, "--store", store)
    code, _, err = headwater("ingest", bad, "--store", store)
    assert code == 2
    assert "bad.txt" in err
    assert "OTLP/JSON lines" in err
    assert headwater("pipelines", "--store", store, "--json")[1]["pipelines"][0]["n_spans"] == 360


def test_a_bad_outcome_row_is_named_and_none_is_taken(headwater, shop_file, tmp_path):
    store, rows = tmp_path / "store", tmp_path / "rows.csv"
    headwater("ingest", shop_file, "--store", store)
    rows.write_text("run_id,loss\nrun-1,1\nrun-2,many\n")
    code, _, err = headwater("outcome", "import", rows, "--store", store)
    assert code == 2
    assert "row 2" in err
    assert headwater("pipelines", "--store", store, "--json")[1]["pipelines"][0]["n_outcomes"] == 120


def test_too_few_traces_is_said_not_guessed(headwater, shop_store):
    code, found, err = headwater("report", "errors", "--store", shop_store, "--since", "2026-09-21T14:15:00Z", "--json")
    assert code in {0, 3}
    if code == 0:
        assert found["verdict"] != "identified"
        assert found["warnings"]
    else:
        assert json.loads(err)["code"] == "too_little_data"


def test_no_arguments_is_help(capsys):
    assert run([]) == 0
    assert "report" in capsys.readouterr().out
