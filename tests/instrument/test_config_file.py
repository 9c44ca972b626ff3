"""headwater.toml: what is read, what is refused and in which words."""

import importlib
import logging
import pickle
import re
import sys
from pathlib import Path

import pytest
from tests.instrument.recording import no_provider, recorder

import headwater as hw
from headwater.instrument import boot, isolate
from headwater.instrument.config import ConfigError, Lazy, apply, find, load

__all__ = ["no_provider", "recorder"]
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "zero-code.md"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A working directory with a package `hwshop`; gives a function that writes a file there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADWATER_CONFIG", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "hwshop").mkdir()
    (tmp_path / "hwshop" / "__init__.py").write_text("")
    (tmp_path / "hwshop" / "read.py").write_text("def conf(result):\n    return result['c']\n\nLIMIT = 3\n")
    (tmp_path / "hwshop" / "rank.py").write_text(
        "class Ranker:\n    def score(self, order):\n        return {'c': 0.25, 'oov': 0.5, 'n': 3}\n\ndef handle(order):\n    return Ranker().score(order)\n"
    )

    def write(text, name="headwater.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    yield write
    boot.stop()
    hw.uninstrument()
    isolate.clear_counts()
    for name in [name for name in sys.modules if name.partition(".")[0] == "hwshop"]:
        del sys.modules[name]


WHOLE = """
[pipeline]
name = "shop"
version = "3"
match = "hwshop.rank:handle"
run_id = "id"
route = "hwshop.read:conf"

[[instrument]]
match = ["hwshop.rank:Ranker.sc*", "hwshop.other:*"]
stage = "rank"
type = "model"
model = "llama3:8b"
confidence = "hwshop.read:conf"
confidence_kind = "prob"
final = true
output_size = "n"
quality.plain = "oov"
quality.mine.own = "oov"
quality.input.difficulty = "weight"
attributes = { team = "red:blue" }
config = { top_k = 3, names = ["a:b"] }
"""


def test_every_keyword_reaches_the_span(shop, recorder):
    shop(WHOLE)
    apply(load(find()))
    assert "hwshop.read" not in sys.modules
    importlib.import_module("hwshop.rank").handle({"id": "order-7", "c": "kitchen", "weight": 2.5})
    assert recorder.names == ["rank", "shop"]
    found = recorder.attributes("rank")
    assert len(found.pop("headwater.config.digest")) == len(found.pop("headwater.stage.version")) == 12
    assert found == {
        "headwater.stage.name": "rank",
        "headwater.stage.type": "model",
        "headwater.model.name": "llama3:8b",
        "headwater.confidence": 0.25,
        "headwater.confidence.kind": "prob",
        "headwater.final": True,
        "headwater.output.size": 3.0,
        "headwater.quality.plain": 0.5,
        "headwater.own.mine": 0.5,
        "headwater.difficulty.input": 2.5,
        "headwater.pipeline.name": "shop",
        "headwater.pipeline.version": "3",
        "headwater.run.id": "order-7",
        "headwater.route": "kitchen",
        "code.function.name": "hwshop.rank.Ranker.score",
        "team": "red:blue",
    }
    assert recorder.parent_of("rank") == "shop"


def test_a_stage_outside_a_run_carries_the_pipeline_and_a_run_of_the_programs_own_wins(shop, recorder):
    shop('[pipeline]\nname = "shop"\n[[instrument]]\nmatch = "hwshop.rank:Ranker.score"\n')
    apply(load(find()))
    ranker = importlib.import_module("hwshop.rank").Ranker()
    ranker.score({})
    with hw.run("theirs"):
        ranker.score({})
    first, second = [dict(span.attributes) for span in recorder.spans if span.name == "Ranker.score"]
    assert (first["headwater.pipeline.name"], second["headwater.pipeline.name"]) == ("shop", "theirs")


def test_the_file_in_force_variable_then_directory_then_pyproject(shop, monkeypatch, tmp_path):
    assert find() is None
    shop("[project]\nname = 'x'\n", "pyproject.toml")
    assert find() is None
    shop("[[tool.headwater.instrument]]\nmatch = 'hwshop.rank:handle'\n", "pyproject.toml")
    assert find().name == "pyproject.toml"
    assert [table.match for table in load(find()).tables] == [("hwshop.rank:handle",)]
    shop("")
    assert find().name == "headwater.toml"
    other = shop("", "other.toml")
    monkeypatch.setenv("HEADWATER_CONFIG", str(other))
    assert find() == other
    monkeypatch.setenv("HEADWATER_CONFIG", str(tmp_path / "lost.toml"))
    with pytest.raises(ConfigError, match=r"HEADWATER_CONFIG names .*lost\.toml, which is not a file"):
        find()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[instrument]\n", "is not valid TOML"),
        ("[[instruments]]\nmatch = 'a:b'\n", r"\[instruments\]: no such table; allowed: \[pipeline\], \[\[instrument\]\]"),
        ("[instrument]\nmatch = 'a:b'\n", "tables in double brackets"),
        ("pipeline = 3\n", "found int; allowed: a table"),
        ("[pipeline]\nnmae = 'x'\n", "unknown key 'nmae'; allowed: name, version, match"),
        ("[pipeline]\nname = ''\n", "name = ''; allowed: a text"),
        ("[pipeline]\nrun_id = 'id'\n", "say which function is one"),
        ("[pipeline]\nmatch = 'a'\n", "match 'a' is no pattern"),
        ("[pipeline]\nmatch = 'a:b'\nrun_id = 1.5\n", "run_id=1.5 is no extractor"),
        ("[[instrument]]\nstage = 'x'\n", r"\[\[instrument\]\] 1: match is missing"),
        ("[[instrument]]\nmatch = 'a:b'\n[[instrument]]\nmatch = []\n", r"\[\[instrument\]\] 2 .*match is empty"),
        ("[[instrument]]\nmatch = 'a:b'\nstage = 3\n", "stage = 3; allowed: a text"),
        ("[[instrument]]\nmatch = 'a:b'\nconfidense = 'c'\n", r"\(match 'a:b'\): .*unknown keyword 'confidense'; allowed: .*confidence"),
        ("[[instrument]]\nmatch = 'a:b'\ntype = 'modle'\n", "stage type 'modle' is unknown; allowed: model"),
        ("[[instrument]]\nmatch = 'a:b'\nconfidence = 1.5\n", "confidence=1.5 is no extractor"),
        ("[[instrument]]\nmatch = 'a:b'\nquality = 'oov'\n", "quality = 'oov'; allowed: a table"),
        ("[[instrument]]\nmatch = 'a:b'\nquality.oov.owm = 'oov'\n", "is no extractor"),
        ("[[instrument]]\nmatch = 'a:b'\nquality.oov.own = 1.5\n", "quality.own=1.5 is no extractor"),
        ("[[instrument]]\nmatch = 'a:b'\nattributes = 'x'\n", r"\[\[instrument\]\] 1"),
    ],
)
def test_a_wrong_table_is_named_with_what_is_allowed(shop, text, says):
    with pytest.raises(ConfigError, match=says) as found:
        load(shop(text))
    assert "headwater.toml" in str(found.value)


def test_a_lazy_callable_is_imported_at_its_first_call_and_pickles(shop):
    lazy = pickle.loads(pickle.dumps(Lazy("hwshop.read:conf")))
    assert "hwshop.read" not in sys.modules
    assert lazy({"c": 0.5}) == 0.5
    assert "hwshop.read" in sys.modules
    with pytest.raises(TypeError, match="LIMIT is int; allowed: a callable"):
        Lazy("hwshop.read:LIMIT").resolve()
    with pytest.raises(ModuleNotFoundError):
        Lazy("hwshop.nowhere:conf").resolve()


def test_a_callable_may_be_written_as_a_table_where_a_text_is_a_text(shop, recorder):
    shop("[[instrument]]\nmatch = 'hwshop.rank:handle'\nversion = { call = 'hwshop.version:current' }\n")
    shop("def current():\n    return 'v9'\n", "hwshop/version.py")
    apply(load(find()))
    importlib.import_module("hwshop.rank").handle({})
    assert recorder.attributes("handle")["headwater.stage.version"] == "v9"


def test_starting_never_raises_and_says_what_is_wrong(shop, caplog, monkeypatch):
    monkeypatch.setenv("HEADWATER_RUN_PROVIDER", "program")
    shop("[[instrument]]\nstage = 'x'\n")
    with caplog.at_level(logging.WARNING, "headwater"):
        assert boot.start() == ()
    assert "headwater: nothing is instrumented: headwater.toml: [[instrument]] 1: match is missing" in caplog.text


def test_starting_twice_is_once_and_stopping_puts_all_back(shop, recorder):
    shop("[[instrument]]\nmatch = 'hwshop.rank:handle'\n")
    assert boot.start() == boot.start()
    rank = importlib.import_module("hwshop.rank")
    rank.handle({})
    boot.stop()
    rank.handle({})
    assert recorder.names == ["handle"]


@pytest.mark.parametrize("text", re.findall(r"^```toml\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
def test_the_guides_files_are_right_and_its_adapters_are_there(shop, text):
    found = load(shop(text))
    assert found.tables
    ours = [lazy for table in found.tables for lazy in table.lazy if lazy.name.startswith("headwater.")]
    assert all(callable(lazy.resolve()) for lazy in ours)
