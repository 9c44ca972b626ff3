"""Without the real transformers: its pipelines need a deep-learning framework, too heavy for a test run. The stand-in has the module path, class and
call of the library, and gives results in the shapes that its tasks document; reading the real library's results is not covered here.
"""

import sys
import types

import pytest
from tests.instrument.recording import no_provider, recorder

import headwater as hw
from headwater.instrument.adapters import transformers as adapter

__all__ = ["no_provider", "recorder"]


class Config:
    name_or_path = "tiny-sentiment"
    _commit_hash = "abc123"


@pytest.fixture
def pipeline_class(monkeypatch):
    class Pipeline:
        def __init__(self, answers):
            self.answers = answers
            self.model = types.SimpleNamespace(config=Config())

        def __call__(self, inputs, *args, **kwargs):
            return self.answers

    base = types.ModuleType("transformers.pipelines.base")
    base.Pipeline = Pipeline
    for name, module in (("transformers", None), ("transformers.pipelines", None), ("transformers.pipelines.base", base)):
        monkeypatch.setitem(sys.modules, name, module or types.ModuleType(name))
    yield Pipeline
    hw.uninstrument()


def test_a_pipeline_is_a_stage_with_score_and_model(pipeline_class, recorder):
    hw.instrument("transformers.pipelines.base:Pipeline.__call__", stage="sentiment", model=adapter.model, confidence=adapter.score)
    assert pipeline_class([{"label": "POSITIVE", "score": 0.75}])("good") == [{"label": "POSITIVE", "score": 0.75}]
    found = recorder.attributes("sentiment")
    assert found["headwater.confidence"] == 0.75
    assert (found["headwater.model.name"], found["headwater.model.version"]) == ("tiny-sentiment", "abc123")


@pytest.mark.parametrize(
    ("result", "each", "best"),
    [
        ([{"label": "POSITIVE", "score": 0.5}, {"label": "NEGATIVE", "score": 1.0}], 0.75, 1.0),
        ([[{"label": "a", "score": 0.75}, {"label": "b", "score": 0.25}], [{"label": "a", "score": 0.5}]], 0.5, 0.625),
        ({"score": 0.5, "start": 0, "end": 3, "answer": "yes"}, 0.5, 0.5),
        ({"sequence": "x", "labels": ["a", "b"], "scores": [0.75, 0.25]}, 0.75, 0.75),
        ([{"generated_text": "on"}], None, None),
        ([], None, None),
        ([[]], None, None),
        ({"text": "lights on"}, None, None),
    ],
)
def test_scores_of_the_documented_shapes(result, each, best):
    assert (adapter.score(result), adapter.best_score(result)) == (each, best)


def test_a_pipeline_that_does_not_say_its_model():
    assert adapter.model(object()) is None
    assert adapter.model(types.SimpleNamespace(model=types.SimpleNamespace(config=types.SimpleNamespace(_name_or_path="local")))) == "local"
