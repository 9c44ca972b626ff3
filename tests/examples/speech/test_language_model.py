"""The ARPA text: probabilities that sum to one."""

import math

import pytest
from examples.pipelines.speech.language_model import arpa


def _parse(text):
    unigrams, bigrams, section = {}, {}, None
    for line in text.splitlines():
        if line.startswith("\\"):
            section = line
        elif line and section == "\\1-grams:":
            logp, word, *backoff = line.split()
            unigrams[word] = (10 ** float(logp), 10 ** float(backoff[0]) if backoff else None)
        elif line and section == "\\2-grams:":
            logp, first, second = line.split()
            bigrams[first, second] = 10 ** float(logp)
    return unigrams, bigrams


def test_probabilities_after_every_word_sum_to_one():
    unigrams, bigrams = _parse(arpa([("call", "anna"), ("call", "peter"), ("tell", "anna")]))
    words = [word for word in unigrams if word != "<s>"]
    assert sum(unigrams[word][0] for word in words) == pytest.approx(1.0, abs=1e-3)
    for first in ("<s>", "call", "anna", "tell"):
        total = sum(bigrams.get((first, word), unigrams[first][1] * unigrams[word][0]) for word in words)
        assert total == pytest.approx(1.0, abs=1e-3), first


def test_a_seen_pair_is_likelier_than_an_unseen_one_and_counts_are_declared():
    text = arpa([("call", "anna"), ("tell", "peter")])
    unigrams, bigrams = _parse(text)
    assert bigrams["call", "anna"] == pytest.approx(0.5, abs=1e-3)  # (1 - discount) / 1
    assert bigrams["call", "anna"] > unigrams["call"][1] * unigrams["peter"][0]
    assert f"ngram 1={len(unigrams)}" in text
    assert f"ngram 2={len(bigrams)}" in text
    assert math.log10(unigrams["<s>"][0]) < -90


def test_no_sentence_no_model():
    with pytest.raises(ValueError, match="at least one"):
        arpa([])
