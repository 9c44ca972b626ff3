"""With the real onnxruntime; the model's bytes are written field by field, so that no builder is needed."""

import numpy as np
import onnxruntime
import pytest
from tests.instrument.recording import no_provider, recorder

import headwater as hw
from headwater.instrument.adapters import onnxruntime as adapter

__all__ = ["no_provider", "recorder"]
FLOAT = 1


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number, value):
    """One protobuf field: an int, or text, bytes, or a message already encoded."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def tensor_info(name, columns):
    shape = field(1, field(2, "rows")) + field(1, field(1, columns))
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, shape)))


def model_bytes(*operators, graph="intent", version=7):
    """ModelProto of a chain of one-input operators over a float table (rows, 3); each operator's output is an output of the model."""
    body = b""
    for number, operator in enumerate(operators):
        body += field(1, field(1, "in" if number == 0 else f"out{number - 1}") + field(2, f"out{number}") + field(4, operator))
    body += field(2, graph) + field(11, tensor_info("in", 3))
    body += b"".join(field(12, tensor_info(f"out{number}", 3)) for number in range(len(operators)))
    return field(1, 8) + field(5, version) + field(7, body) + field(8, field(2, 13))


@pytest.fixture
def session():
    yield onnxruntime.InferenceSession(model_bytes("Identity", "Softmax"), providers=["CPUExecutionProvider"])
    hw.uninstrument()


SCORES = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]], np.float32)


def test_a_session_is_a_stage_with_confidence_and_version(session, recorder):
    by_hand = np.exp(2.0) / (np.exp(2.0) + 2.0)
    hw.instrument("onnxruntime:InferenceSession.run", stage="intent", model=adapter.model, confidence=adapter.max_probability)
    raw, probabilities = session.run(None, {"in": SCORES})
    assert np.array_equal(raw, SCORES)
    assert probabilities[1, 0] == pytest.approx(by_hand)
    found = recorder.attributes("intent")
    assert found["headwater.confidence"] == pytest.approx((1 / 3 + by_hand) / 2)
    assert (found["headwater.model.name"], found["headwater.model.version"]) == ("intent", "7")
    assert found["code.function.name"].endswith(".run")


def test_scores_are_read_through_softmax(session, recorder):
    hw.instrument("onnxruntime:InferenceSession.run", stage="intent", confidence=adapter.max_softmax)
    probabilities = session.run(["out1"], {"in": SCORES})[0]
    session.run(["out0"], {"in": SCORES + 1000.0})
    assert recorder.spans[1].attributes["headwater.confidence"] == pytest.approx(float(probabilities.max(axis=1).mean()))


def test_an_error_of_the_session_reaches_the_caller_and_the_span(session, recorder):
    hw.instrument("onnxruntime:InferenceSession.run", stage="intent")
    with pytest.raises(ValueError, match="in"):
        session.run(None, {})
    assert recorder.attributes("intent")["error.type"] == "ValueError"


def test_which_output_is_read():
    maps = [np.array([1, 0]), [{0: 0.25, 1: 0.75}, {0: 0.5, 1: 0.5}]]
    assert adapter.max_probability(maps) == 0.625
    assert adapter.max_probability([SCORES]) is None
    assert adapter.max_probability([np.array([1, 2]), np.array([[0.2, 0.8]], np.float32)]) == pytest.approx(0.8)
    assert adapter.max_probability([np.zeros((0, 2), np.float32), []]) is None
    assert adapter.max_softmax([np.array([1, 2])]) is None


def test_a_graph_without_a_name_has_no_model():
    session = onnxruntime.InferenceSession(model_bytes("Identity", graph=""), providers=["CPUExecutionProvider"])
    assert adapter.model(session) in {None, "main_graph@7"}
