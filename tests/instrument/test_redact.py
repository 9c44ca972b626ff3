"""The redaction hook sees everything that is written on a span, and fails closed."""

import pytest
from tests.instrument.recording import recorder, swallowing

import headwater as hw
from headwater.instrument import isolate

__all__ = ["recorder", "swallowing"]  # fixtures


@pytest.fixture(autouse=True)
def no_hook_after():
    yield
    hw.redact(None)


def hide(key, value):
    if key == "card":
        return None
    return value.replace("4711", "XXXX") if isinstance(value, str) else value


def everything(recorder):
    parts = [
        [span.name, span.status.description, dict(span.attributes), [dict(event.attributes) for event in span.events]] for span in recorder.spans
    ]
    return repr(parts)


def test_attributes_run_ids_and_the_texts_of_exceptions_pass_the_hook(recorder):
    hw.redact(hide)

    @hw.stage("pay", attributes={"till": "till 4711"})
    def pay():
        hw.stage.current().set("card", "1234")
        hw.stage.current().set("note", "card 4711")
        raise ValueError("refused 4711")

    with pytest.raises(ValueError, match="refused 4711"), hw.run("shop", run_id="order 4711"):
        pay()
    assert "4711" not in everything(recorder)
    found = recorder.attributes("pay")
    assert (found["note"], found["till"], found["headwater.run.id"]) == ("card XXXX", "till XXXX", "order XXXX")
    assert "card" not in found
    assert recorder.one("pay").status.description == "ValueError"


def test_what_a_fallback_stood_in_for_is_redacted_too(recorder):
    hw.redact(hide)

    @hw.stage("pay", fallback=lambda: "later")
    def pay():
        raise ValueError("4711")

    assert pay() == "later"
    (event,) = recorder.one("pay").events
    assert event.attributes["exception.message"] == "XXXX"


def test_a_hook_that_raises_hides_the_value_and_is_counted(recorder, swallowing):
    def broken(key, value):
        raise KeyError(key)

    hw.redact(broken)
    assert hw.stage("s", version="secret")(lambda: 1)() == 1
    assert set(recorder.attributes("s").values()) == {"***"}
    assert isolate.counts()["redaction hook raised"] >= 3


def test_without_a_hook_values_stay(recorder):
    hw.redact(hide)
    hw.redact(None)
    with hw.stage.span("s") as st:
        st.set("card", "4711")
    assert recorder.attributes("s")["card"] == "4711"


def test_what_is_no_hook_is_refused():
    with pytest.raises(TypeError, match="allowed: a callable"):
        hw.redact("password")
