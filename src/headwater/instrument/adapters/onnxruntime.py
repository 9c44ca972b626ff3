"""Reading onnxruntime.

hw.instrument("onnxruntime:InferenceSession.run", stage="asr", model=onnxruntime.model, confidence=onnxruntime.max_softmax)
"""

import math
from typing import Any, Final

_CLOSE: Final = 1e-3  # of a sum of float32 probabilities


def model(session: Any) -> str | None:
    """``graph name@version`` out of the model's own description; None if it has no name."""
    described = session.get_modelmeta()
    return f"{described.graph_name}@{described.version}" if described.graph_name else None


def max_probability(outputs: Any) -> float | None:
    """The largest probability, mean over rows, of the first output that holds probabilities: maps of class to probability (what converters of
    scikit-learn models make), or shape (rows, classes) with rows that add up to 1. None if there is no such output.
    """
    for output in outputs:
        if isinstance(output, list) and output and all(isinstance(row, dict) and row for row in output):
            return sum(float(max(row.values())) for row in output) / len(output)
        if _is_table(output) and float(output.min()) >= 0.0 and float(abs(output.sum(axis=1) - 1.0).max()) <= _CLOSE:
            return float(output.max(axis=1).mean())
    return None


def max_softmax(outputs: Any) -> float | None:
    """The same for scores: softmax over the last axis of the first output of shape (rows, classes). None if there is none."""
    for output in outputs:
        if _is_table(output):
            powers = math.e ** (output - output.max(axis=1, keepdims=True))
            return float((1.0 / powers.sum(axis=1)).mean())
    return None


def _is_table(output: Any) -> bool:
    return getattr(getattr(output, "dtype", None), "kind", "") == "f" and output.ndim == 2 and output.size > 0
