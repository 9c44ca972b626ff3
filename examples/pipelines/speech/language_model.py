"""A bigram language model with absolute discounting, in the ARPA text format.

Seen pairs keep their count less `DISCOUNT`; what that frees goes to unseen pairs by back-off (Ney, Essen and Kneser 1994). Format:
https://cmusphinx.github.io/wiki/arpaformat/ : base-10 logarithms, ``log p, word, log back-off``.
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

DISCOUNT: Final = 0.5
_START, _STOP = "<s>", "</s>"


def arpa(sentences: Sequence[Sequence[str]]) -> str:
    """The model of tokenised `sentences`.

    Raises:
        ValueError: no sentence was given.
    """
    if not sentences:
        raise ValueError("a language model needs at least one sentence")
    pairs: Counter[tuple[str, str]] = Counter()
    for words in sentences:
        padded = (_START, *words, _STOP)
        pairs.update(itertools.pairwise(padded))
    follows: dict[str, dict[str, int]] = {}
    unigrams: Counter[str] = Counter()
    for (first, second), count in pairs.items():
        follows.setdefault(first, {})[second] = count
        unigrams[second] += count
    total = sum(unigrams.values())
    share = {word: count / total for word, count in unigrams.items()}
    words = sorted(share)
    lines = ["\\data\\", f"ngram 1={len(words) + 1}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    lines.append(f"-99 {_START} {_backoff(follows[_START], share):.5f}")
    for word in words:
        tail = f" {_backoff(follows[word], share):.5f}" if word in follows else ""
        lines.append(f"{math.log10(share[word]):.5f} {word}{tail}")
    lines += ["", "\\2-grams:"]
    for (first, second), count in sorted(pairs.items()):
        lines.append(f"{math.log10((count - DISCOUNT) / sum(follows[first].values())):.5f} {first} {second}")
    return "\n".join([*lines, "", "\\end\\", ""])


def _backoff(followers: dict[str, int], share: dict[str, float]) -> float:
    """log10 of the factor that makes the probabilities after one word sum to 1."""
    freed = DISCOUNT * len(followers) / sum(followers.values())
    unseen = 1.0 - sum(share[word] for word in followers)
    return math.log10(max(freed, 1e-9) / max(unseen, 1e-9))
