"""Reading transformers pipelines.

hw.instrument("transformers.pipelines.base:Pipeline.__call__", stage="sentiment", model=transformers.model, confidence=transformers.score)
"""

from collections.abc import Iterator, Mapping
from typing import Any


def score(result: Any) -> float | None:
    """Each answer's score, mean over the answers: for tasks that give one answer an input (text classification as it comes, question answering), or
    several that stand beside each other (detection, token classification). Zero-shot classification: its best. None for tasks without scores.
    """
    found = list(_scores(result))
    return sum(found) / len(found) if found else None


def best_score(result: Any) -> float | None:
    """The same where the answers of a list are candidates for one input (``top_k``, image classification, fill-mask): the best of each list, mean
    over the lists. A result cannot say which of the two it is, so the choice is yours.
    """
    if isinstance(result, (list, tuple)) and any(isinstance(answer, (list, tuple)) for answer in result):
        found = [best for best in map(best_score, result) if best is not None]
        return sum(found) / len(found) if found else None
    return max(_scores(result), default=None)


def _scores(result: Any) -> Iterator[float]:
    if isinstance(result, Mapping):
        scores = result.get("scores", [result["score"]] if "score" in result else [])
        if len(scores):
            yield max(map(float, scores))
    elif isinstance(result, (list, tuple)):
        for answer in result:
            yield from _scores(answer)


def model(pipeline: Any) -> str | None:
    """``name or path@commit`` of the pipeline's model; None if it does not say."""
    config = getattr(getattr(pipeline, "model", None), "config", None)
    name = getattr(config, "_name_or_path", None) or getattr(config, "name_or_path", None)
    commit = getattr(config, "_commit_hash", None)
    return f"{name}@{commit}" if name and commit else name or None
