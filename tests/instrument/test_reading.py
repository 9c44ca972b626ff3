"""Readers, givens and roles: what is read off a call, from what, and under which name."""

import dataclasses
import functools

import pytest
from tests.instrument.recording import recorder, swallowing

import headwater as hw
from headwater.conventions.attributes import ALL
from headwater.instrument import isolate

__all__ = ["recorder", "swallowing"]


@dataclasses.dataclass
class Answer:
    conf: float
    inner: dict


def test_a_reader_is_a_callable_a_path_a_key_or_an_index(recorder):
    hw.stage("callable", confidence=lambda r: r.conf)(lambda: Answer(0.1, {}))()
    hw.stage("attribute", confidence="conf")(lambda: Answer(0.2, {}))()
    hw.stage("path", confidence="inner.deep.x")(lambda: Answer(0, {"deep": {"x": 0.3}}))()
    hw.stage("key", confidence="a.b")(lambda: {"a.b": 0.4, "a": {"b": 0.9}})()
    hw.stage("index", confidence=1)(lambda: ("text", 0.5))()
    assert [recorder.attributes(name)["headwater.confidence"] for name in recorder.names] == [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize("reader", [0.5, True, [1], {"a": 1}])
def test_what_is_no_reader_is_refused_at_decoration(reader):
    with pytest.raises(TypeError, match=r"allowed: a callable, an attribute path or key \(str\), an index \(int\)"):
        hw.stage("s", confidence=reader)(lambda: 1)
    with pytest.raises(TypeError, match=r"headwater\.own\.oov=.* is no extractor"):
        hw.stage("s", quality={"oov": hw.own(reader)})(lambda: 1)


def test_roles_make_the_name_and_choose_the_subject(recorder):
    @hw.stage("s", quality={"a": hw.own(lambda r: r), "b": hw.difficulty(lambda x: x), "c": lambda r: r, "d": hw.own("real")}, input_size=lambda x: x)
    def double(x):
        return 2 * x

    double(3)
    double(x=5)
    got = [
        {name: span.attributes[f"headwater.{name}"] for name in ("own.a", "difficulty.b", "quality.c", "own.d", "input.size")}
        for span in recorder.spans
    ]
    assert got == [
        {"own.a": 6, "difficulty.b": 3, "quality.c": 6, "own.d": 6, "input.size": 3},
        {"own.a": 10, "difficulty.b": 5, "quality.c": 10, "own.d": 10, "input.size": 5},
    ]


def test_the_input_is_read_before_the_call_and_known_when_it_raises(recorder):
    @hw.stage("s", input_size=len)
    def consume(items):
        items.clear()
        raise ValueError

    with pytest.raises(ValueError):
        consume([1, 2, 3])
    assert recorder.attributes("s")["headwater.input.size"] == 3.0


def test_a_call_without_arguments_has_no_input(recorder):
    hw.stage("s", input_size=len, quality={"snr": hw.difficulty(lambda x: x)})(lambda: 1)()
    assert not [name for name in recorder.attributes("s") if "input" in name or "difficulty" in name]


class Recogniser:
    def __init__(self):
        self.settings = {"beam": 8}
        self.revision = "1"

    @hw.stage(
        "asr",
        model=lambda self: f"whisper@{self.revision}",
        version=lambda self: f"code-{self.revision}",
        data_version=lambda self: None,
        config=lambda self: self.settings,
        input_size=len,
    )
    def transcribe(self, audio):
        return audio


def test_givens_of_a_method_get_self_and_follow_changes_at_run_time(recorder):
    recogniser = Recogniser()
    recogniser.transcribe("ab")
    recogniser.settings["beam"] = 2
    recogniser.transcribe("ab")
    recogniser.settings["beam"] = 8
    recogniser.revision = "2"
    recogniser.transcribe("ab")
    first, second, third = [span.attributes for span in recorder.spans]
    assert first["headwater.config.digest"] == third["headwater.config.digest"] != second["headwater.config.digest"]
    assert [found["headwater.model.version"] for found in (first, second, third)] == ["1", "1", "2"]
    assert (first["headwater.model.name"], third["headwater.stage.version"]) == ("whisper", "code-2")
    assert "headwater.data.version" not in first
    assert first["headwater.input.size"] == 2.0


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Decorated:
    name = "m@4"

    @hw.stage("s", model=lambda self: self.name, input_size=len)
    @logged
    def method(self, items):
        return items


def test_a_method_is_known_below_another_decorator(recorder):
    Decorated().method([1, 2])
    found = recorder.attributes("s")
    assert (found["headwater.model.version"], found["headwater.input.size"]) == ("4", 2.0)


def test_the_code_counts_in_a_configuration_given_by_a_callable(recorder):
    hw.stage("s", config=lambda: 1)(lambda: "a")()
    hw.stage("s", config=lambda: 1)(lambda: "b")()
    first, second = [span.attributes["headwater.config.digest"] for span in recorder.spans]
    assert first != second


def test_a_given_that_raises_now_and_then_is_not_switched_off(recorder, swallowing):
    asked = []

    def version():
        asked.append(1)
        if len(asked) != 60:
            raise LookupError
        return "v"

    stage = hw.stage("s", version=version)(lambda: 1)
    for _ in range(150):
        stage()
    assert len(asked) == 150
    assert [span.attributes["headwater.stage.version"] for span in recorder.spans].count("v") == 1


def test_a_bound_method_has_lost_its_self(recorder):
    recogniser = Recogniser()
    wrapped = hw.stage("bound", input_size=len, model=lambda: "m@3")(recogniser.transcribe.__wrapped__.__get__(recogniser))
    assert wrapped("abc") == "abc"
    assert recorder.attributes("bound")["headwater.input.size"] == 3.0
    assert recorder.attributes("bound")["headwater.model.version"] == "3"


def test_every_stage_has_a_version_without_being_asked(recorder):
    def one(x):
        return x + 1

    def two(x):
        return x + 2

    hw.stage("s")(one)(1)
    hw.stage("s")(two)(1)
    hw.stage("s", config={"a": 1})(one)(1)
    hw.stage("s", config={"a": 2}, version="9")(one)(1)
    a, b, c, d = [span.attributes for span in recorder.spans]
    assert a["headwater.stage.version"] == c["headwater.stage.version"] != b["headwater.stage.version"]
    assert d["headwater.stage.version"] == "9"
    assert "headwater.config.digest" not in a
    assert c["headwater.config.digest"] != d["headwater.config.digest"]


def test_the_static_keywords(recorder):
    options = {
        "type": "model",
        "model": "m@1@2",
        "data_version": "d",
        "final": True,
        "blocking": False,
        "pipeline": "shop",
        "attributes": {"team": "a"},
    }
    with hw.run("speech", run_id="r"):
        hw.stage("s", confidence=lambda r: 1, confidence_kind="margin", **options)(lambda: 1)()
    found = recorder.attributes("s")
    expected = {
        "headwater.stage.type": "model",
        "headwater.model.name": "m@1",
        "headwater.model.version": "2",
        "headwater.data.version": "d",
        "headwater.final": True,
        "headwater.blocking": False,
        "headwater.pipeline.name": "shop",
        "headwater.confidence.kind": "margin",
        "headwater.run.id": "r",
        "team": "a",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["code.function.name"].startswith(f"{__name__}.test_the_static_keywords")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "model"}, "unknown keyword 'kind'; allowed: attributes, batch, blocking"),
        ({"type": "modle"}, "stage type 'modle' is unknown; allowed: model, rule"),
        ({"confidence_kind": "logit"}, "confidence kind 'logit' is unknown; allowed: prob"),
    ],
)
def test_a_wrong_keyword_names_the_allowed_ones(options, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        hw.stage("s", **options)(lambda: 1)
    assert words in str(caught.value)


def test_the_name_defaults_to_the_qualified_name(recorder):
    @hw.stage
    def bare():
        return 1

    @hw.stage()
    def called():
        return 1

    bare()
    called()
    hw.stage()(Recogniser.__init__)(Recogniser())
    assert recorder.names == ["bare", "called", "Recogniser.__init__"]


def test_the_handle_says_it_all_by_hand_and_wins_over_readers(recorder):
    @hw.stage("s", confidence=lambda r: 0.1, quality={"q": lambda r: 1}, output_size=lambda r: 1)
    def stage():
        st = hw.stage.current()
        st.confidence(0.2)
        st.confidence(0.9, kind="prob")
        st.quality("q", 2)
        st.own("o", 3)
        st.difficulty("d", 4)
        st.input_size(5)
        st.output_size(6)
        st.model("m@7")
        st.attempt(2)
        st.outcome("degraded")
        st.fault("noise")
        st.final()
        st.set("k", [1])

    stage()
    found = recorder.attributes("s")
    said = {
        "confidence": 0.9,
        "confidence.kind": "prob",
        "quality.q": 2.0,
        "own.o": 3.0,
        "difficulty.d": 4.0,
        "input.size": 5.0,
        "output.size": 6.0,
        "model.name": "m",
        "model.version": "7",
        "stage.attempt": 2,
        "outcome": "degraded",
        "fault.injected": "noise",
        "final": True,
    }
    assert {name: found[f"headwater.{name}"] for name in said} == said
    assert found["k"] == "[1]"


def test_an_invalid_confidence_by_hand_leaves_no_earlier_one(recorder, swallowing):
    with hw.stage.span("s") as st:
        st.confidence(0.5)
        st.confidence(7)
        st.own("text", "many")
        st.outcome("fine")
        st.fallback_from("asr-large")
    found = recorder.attributes("s")
    assert "headwater.confidence" not in found
    assert found["headwater.confidence.kind"] == "invalid"
    assert "headwater.own.text" not in found
    assert (found["headwater.outcome"], found["headwater.fallback.from"]) == ("fallback", "asr-large")
    assert len(isolate.counts()) == 3


async def test_a_block_may_be_async_and_takes_the_keywords(recorder):
    async with hw.stage.span("gate", version="3", model=lambda: "g@1", config={"a": 1}) as st:
        st.link(st.span.get_span_context(), kind="input")
    found = recorder.attributes("gate")
    assert (found["headwater.stage.version"], found["headwater.model.version"]) == ("3", "1")
    assert len(found["headwater.config.digest"]) == 12
    assert recorder.one("gate").links[0].attributes == {"headwater.link.kind": "input"}


def test_writes_after_the_end_are_ignored(recorder, caplog):
    with hw.stage.span("s") as st:
        pass
    st.confidence(0.5)
    st.set("late", 1)
    assert set(recorder.attributes("s")) == {"headwater.stage.name"}
    assert caplog.records == []


def burn(seconds):
    import time

    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_cpu_time_is_the_stages_own(recorder):
    import time

    @hw.stage("s", cpu=True)
    def stage():
        burn(0.02)
        time.sleep(0.05)

    stage()
    assert 15e6 <= recorder.attributes("s")["headwater.cpu.time_ns"] <= 45e6


async def test_cpu_time_of_a_coroutine_leaves_out_other_tasks(recorder):
    import asyncio

    @hw.stage("s", cpu=True)
    async def stage():
        burn(0.01)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "done"

    async def other():
        burn(0.06)

    assert (await asyncio.gather(stage(), other()))[0] == "done"
    assert 8e6 <= recorder.attributes("s")["headwater.cpu.time_ns"] <= 40e6


def test_cpu_time_of_a_generator_leaves_out_its_consumer(recorder):
    @hw.stage("s", cpu=True)
    def stage():
        burn(0.01)
        yield 1
        burn(0.01)

    for _ in stage():
        burn(0.06)
    assert 16e6 <= recorder.attributes("s")["headwater.cpu.time_ns"] <= 50e6


def test_every_name_on_the_wire_stands_in_the_table(recorder, swallowing):
    @hw.stage("s", type="model", model="m@1", data_version="1", config=1, confidence=lambda r: 3, quality={"q": hw.own(lambda r: 1)}, cpu=True)
    def stage(x):
        yield x

    with hw.run("p", run_id="1", version="1", route="r", session_id="s", canary=True, difficulty={"d": 1}) as run:
        list(stage(1))
        with pytest.raises(ValueError), hw.stage.span("e"):
            raise ValueError
    hw.outcome(run.token, loss=0.0, label="right", source="test", audit=True)
    names = {attribute.name for attribute in ALL}
    families = tuple(attribute.prefix for attribute in ALL if attribute.is_family)
    used = {name for span in recorder.spans for name in span.attributes}
    assert len(used) > 25
    assert {name for name in used if name not in names and not name.startswith(families)} == set()
