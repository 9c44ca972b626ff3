"""Reading scikit-learn.

hw.instrument(
    "sklearn.pipeline:Pipeline.predict_proba", stage="churn", steps=sklearn.steps, confidence=sklearn.max_probability, output_size=sklearn.rows
)
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from headwater.instrument.spec import StageOptions


def max_probability(result: Any) -> float | None:
    """Result of ``predict_proba``, shape (rows, classes), or a list of such for several outputs: the largest probability, mean over rows and outputs.
    None for no rows.
    """
    outputs = result if isinstance(result, list) else [result]
    means = [float(output.max(axis=1).mean()) for output in outputs if output.shape[0]]
    return sum(means) / len(means) if means else None


def rows(table: Any) -> int:
    """Rows of an array, a sparse matrix, a data frame or a list."""
    shape = getattr(table, "shape", None)
    return int(shape[0]) if shape else len(table)


_METHODS: Final[Mapping[str, StageOptions]] = {
    "transform": {"type": "rule", "input_size": rows},
    "predict": {"type": "model", "input_size": rows},
    "predict_proba": {"type": "model", "input_size": rows, "confidence": max_probability, "confidence_kind": "prob"},
    "decision_function": {"type": "model", "input_size": rows},
}


def steps(pipeline: Any) -> Iterator[tuple[str, Any, Mapping[str, StageOptions]]]:
    """The steps of a ``Pipeline`` under their names, those that pass through left out."""
    for name, step in pipeline.steps:
        if step is not None and step != "passthrough":
            yield name, step, _METHODS
