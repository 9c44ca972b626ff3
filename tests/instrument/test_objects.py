"""Stages of single objects: known by identity, forgotten with the object, undone without a trace."""

import asyncio
import gc
import inspect

import pytest
from tests.instrument.recording import no_provider, recorder

import headwater as hw
from headwater.instrument import objects, patching

__all__ = ["no_provider", "recorder"]


class Model:
    def __init__(self, name):
        self.name = name

    def __eq__(self, other):  # equal and unhashable: identity must decide
        return True

    __hash__ = None

    def predict(self, x):
        return f"{self.name} {x}"

    def again(self, x):
        return self.predict(x)

    async def later(self, x):
        await asyncio.sleep(0)
        return x if x == 0 else await self.later(0) + x

    def numbers(self, n):
        yield from range(n)

    async def stream(self):
        yield 1


def bind(subject, method, stage):
    return objects.bind(subject, method, hw.stage(stage, version="1"))


@pytest.fixture(autouse=True)
def clean():
    yield
    for place, found in list(objects._DISPATCHERS.items()):
        found.patch.undo()
        del objects._DISPATCHERS[place]


def test_each_object_has_its_own_stage_and_others_none(recorder):
    churn, fraud, other = Model("churn"), Model("fraud"), Model("other")
    bind(churn, "predict", "churn")
    bind(fraud, "predict", "fraud")
    assert [model.predict(1) for model in (churn, fraud, other)] == ["churn 1", "fraud 1", "other 1"]
    assert recorder.names == ["churn", "fraud"]
    assert Model.predict(churn, x=2) == "churn 2"
    assert recorder.names == ["churn", "fraud", "churn"]


def test_what_an_object_calls_on_itself_is_its_own_work_and_on_another_is_not(recorder):
    one, two = Model("one"), Model("two")
    for model in (one, two):
        bind(model, "predict", model.name)
        bind(model, "again", f"{model.name}.again")
    one.again(1)
    assert recorder.names == ["one.again"]
    one.predict = two.predict
    one.again(1)
    assert recorder.names == ["one.again", "two", "one.again"]


async def test_kinds_stay_for_every_object_of_the_class_and_the_span_covers_the_whole(recorder):
    model, other = Model("m"), Model("other")
    bind(model, "later", "later")
    bind(model, "numbers", "numbers")
    assert inspect.iscoroutinefunction(other.later)
    assert inspect.isgeneratorfunction(other.numbers)
    assert (await model.later(3), await other.later(3)) == (3, 3)
    assert (list(model.numbers(3)), list(other.numbers(3))) == ([0, 1, 2], [0, 1, 2])
    assert recorder.names == ["later", "numbers"]
    assert recorder.attributes("numbers")["headwater.items"] == 3


def test_an_object_is_forgotten_when_it_goes(recorder):
    model = Model("m")
    bind(model, "predict", "gone")
    dispatcher = objects._DISPATCHERS[Model, "predict"]
    assert len(dispatcher._by_id) == 1
    stale = next(iter(dispatcher._by_id.values()))
    del model
    gc.collect()
    assert dispatcher._by_id == {}
    heir = Model("heir")
    dispatcher._by_id[id(heir)] = stale  # as if the heir had been given the old one's address, and the callback had not run yet
    assert heir.predict(1) == "heir 1"
    assert recorder.names == []


def test_twice_is_once_and_the_last_undo_gives_the_class_back(recorder):
    plain = vars(Model)["predict"]
    one, two = Model("one"), Model("two")
    first, second = bind(one, "predict", "one"), bind(two, "predict", "two")
    assert bind(one, "predict", "again") is None
    first.undo()
    first.undo()
    assert (one.predict(1), two.predict(1)) == ("one 1", "two 1")
    assert recorder.names == ["two"]
    second.undo()
    assert vars(Model)["predict"] is plain


def test_a_class_that_is_traced_has_no_stages_by_object(recorder):
    patch = patching.replace(Model, "predict", hw.stage("class", version="1"))
    model = Model("m")
    try:
        assert bind(model, "predict", "object") is None
        model.predict(1)
    finally:
        patch.undo()
    assert recorder.names == ["class"]


def test_what_cannot_take_part_is_refused_and_left_as_it_is():
    class Slotted:
        __slots__ = ()

        def predict(self):
            return 1

    with pytest.raises(TypeError, match="weak reference"):
        bind(Slotted(), "predict", "slotted")
    with pytest.raises(TypeError, match="found an async generator"):
        bind(Model("m"), "stream", "stream")
    with pytest.raises(AttributeError):
        bind(Model("m"), "nothing", "nothing")
    assert not objects._DISPATCHERS
    assert not patching.is_traced(Slotted.predict)


def test_a_reader_of_steps_that_raises_leaves_the_composite_working(recorder, monkeypatch):
    monkeypatch.setenv("HEADWATER_RERAISE", "0")

    def broken(composite):
        raise RuntimeError("mine")

    handle = hw.instrument(f"{__name__}:Model.predict", stage="composite", steps=broken)
    try:
        assert Model("m").predict(1) == "m 1"
    finally:
        handle.uninstrument()
    assert recorder.names == ["composite"]
