"""With the real scikit-learn: a pipeline and each of its steps, estimators alone, and objects that stay what they are."""

import copy
import pickle
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from tests.instrument.recording import no_provider, recorder

import headwater as hw
from headwater.instrument.adapters import sklearn as adapter
from headwater.instrument.config import apply, load

__all__ = ["no_provider", "recorder"]


@pytest.fixture(autouse=True)
def put_back():
    yield
    hw.uninstrument()
    assert type(vars(Pipeline)["predict_proba"]).__name__ == "_AvailableIfDescriptor"
    assert StandardScaler.transform.__code__.co_filename != adapter.__file__


@pytest.fixture
def data():
    rng = np.random.default_rng(7)
    table = rng.normal(size=(60, 3))
    return table, (table[:, 0] + 0.3 * rng.normal(size=60) > 0).astype(int)


def churn(data, *, last=None):
    steps = [("scale", StandardScaler()), ("again", StandardScaler()), ("nothing", "passthrough"), ("model", last or LogisticRegression())]
    return Pipeline(steps).fit(*data)


def test_every_step_is_a_stage_with_sizes_and_confidence(data, recorder):
    pipe = churn(data)
    expected = pipe.predict_proba(data[0][:5])
    hw.instrument("sklearn.pipeline:Pipeline.predict_proba", stage="churn", steps=adapter.steps, confidence=adapter.max_probability)
    assert np.array_equal(pipe.predict_proba(data[0][:5]), expected)
    assert recorder.names == ["churn.scale", "churn.again", "churn.model", "churn"]
    assert [recorder.parent_of(name) for name in recorder.names] == ["churn", "churn", "churn", None]
    found = recorder.attributes("churn.model")
    assert found["headwater.confidence"] == pytest.approx(expected.max(axis=1).mean())
    assert (found["headwater.confidence.kind"], found["headwater.input.size"], found["headwater.stage.type"]) == ("prob", 5.0, "model")
    assert found["code.function.name"] == "sklearn.linear_model._logistic.LogisticRegression.predict_proba"
    assert recorder.attributes("churn")["headwater.confidence"] == pytest.approx(expected.max(axis=1).mean())
    assert recorder.attributes("churn.scale")["headwater.stage.type"] == "rule"


def test_other_objects_of_the_same_classes_stay_dark(data, recorder):
    pipe, alone = churn(data), StandardScaler().fit(data[0])
    hw.instrument("sklearn.pipeline:Pipeline.predict_proba", stage="churn", steps=adapter.steps)
    pipe.predict_proba(data[0])
    seen = len(recorder.names)
    alone.transform(data[0])
    LogisticRegression().fit(*data).predict_proba(data[0])
    assert len(recorder.names) == seen == 4


def test_a_step_put_in_later_is_seen_and_one_taken_out_is_forgotten(data, recorder):
    pipe = churn(data)
    hw.instrument("sklearn.pipeline:Pipeline.predict_proba", stage="churn", steps=adapter.steps)
    pipe.predict_proba(data[0])
    pipe.set_params(again=PCA(n_components=3).fit(data[0]))
    pipe.predict_proba(data[0])
    assert recorder.names[4:] == ["churn.scale", "churn.again", "churn.model", "churn"]
    assert recorder.spans[5].attributes["code.function.name"].startswith("sklearn.decomposition.")


def test_pipelines_pickle_copy_clone_and_dump_as_before(data, recorder, tmp_path):
    pipe = churn(data)
    plain = pickle.dumps(pipe)
    hw.instrument("sklearn.pipeline:Pipeline.predict_proba", stage="churn", steps=adapter.steps)
    pipe.predict_proba(data[0])
    assert pickle.dumps(pipe) == plain
    joblib.dump(pipe, tmp_path / "churn.joblib")
    for other in (pickle.loads(plain), joblib.load(tmp_path / "churn.joblib"), copy.deepcopy(pipe), clone(pipe).fit(*data)):
        seen = len(recorder.names)
        assert np.allclose(other.predict_proba(data[0]), pipe.predict_proba(data[0]))
        assert len(recorder.names) == seen + 8


def test_a_method_that_is_not_available_stays_so(data, recorder):
    pipe = churn(data, last=LinearSVC())
    hw.instrument(["sklearn.pipeline:Pipeline.predict_proba", "sklearn.pipeline:Pipeline.decision_function"], stage="churn", steps=adapter.steps)
    assert not hasattr(pipe, "predict_proba")
    with pytest.raises(AttributeError, match="predict_proba"):
        pipe.predict_proba(data[0])
    assert pipe.decision_function(data[0]).shape == (60,)
    assert recorder.names == ["churn.scale", "churn.again", "churn.model", "churn"]


def test_estimators_of_one_class_by_class(data, recorder):
    first, second = LogisticRegression().fit(*data), LogisticRegression(C=0.1).fit(*data)
    hw.instrument("sklearn.linear_model:LogisticRegression.predict_proba", confidence=adapter.max_probability, input_size=adapter.rows)
    first.predict_proba(data[0])
    second.predict_proba(data[0])
    assert recorder.names == ["LogisticRegression.predict_proba"] * 2
    assert [span.attributes["headwater.input.size"] for span in recorder.spans] == [60.0, 60.0]


def test_one_object_of_a_module_by_its_name(data, recorder, tmp_path, monkeypatch):
    (tmp_path / "hwmodels.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n\nchurn = LogisticRegression()\nfraud = LogisticRegression()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    hw.instrument("hwmodels:churn.predict_proba", stage="churn")
    hw.instrument("hwmodels:fraud.predict_proba", stage="fraud")
    import hwmodels

    try:
        for model in (hwmodels.churn.fit(*data), hwmodels.fraud.fit(*data)):
            model.predict_proba(data[0])
            assert pickle.loads(pickle.dumps(model)).predict_proba(data[0]).shape == (60, 2)
        assert recorder.names == ["churn", "fraud"]
    finally:
        del sys.modules["hwmodels"]


def test_by_headwater_toml(data, recorder, tmp_path):
    (tmp_path / "headwater.toml").write_text(
        "[[instrument]]\nmatch = 'sklearn.pipeline:Pipeline.predict_proba'\nstage = 'churn'\nsteps = 'headwater.instrument.adapters.sklearn:steps'\n"
        "confidence = 'headwater.instrument.adapters.sklearn:max_probability'\n"
    )
    apply(load(tmp_path / "headwater.toml"))
    churn(data).predict_proba(data[0])
    assert recorder.names == ["churn.scale", "churn.again", "churn.model", "churn"]
    assert 0.5 < recorder.attributes("churn")["headwater.confidence"] <= 1.0


def test_the_largest_probability_by_hand():
    assert adapter.max_probability(np.array([[0.25, 0.75], [1.0, 0.0]])) == 0.875
    assert adapter.max_probability([np.array([[0.25, 0.75]]), np.array([[0.5, 0.5]])]) == 0.625
    assert adapter.max_probability(np.zeros((0, 2))) is None
    assert (adapter.rows(np.zeros((3, 2))), adapter.rows([1, 2])) == (3, 2)
