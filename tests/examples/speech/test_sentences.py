"""The corpus: disjoint, complete, seeded."""

import numpy as np
import pytest
from examples.pipelines.speech.sentences import SLOTS, TEMPLATES, Corpus, Sentence, corpus, draw, vocabulary
from examples.pipelines.speech.setup import FORGOTTEN_WORDS, RENAMED_WORDS, STALE_WORDS


def test_training_and_spoken_sentences_are_disjoint_and_share_their_words():
    both = corpus()
    assert not {s.text for s in both.training} & {s.text for s in both.spoken}
    assert vocabulary(both.spoken) <= vocabulary(both.training)
    assert {s.intent for s in both.spoken} == set(TEMPLATES)
    assert 100 <= len(vocabulary(both.training)) <= 120


def test_a_sentence_in_both_sets_is_refused():
    one = Sentence(text="call anna", intent="call", slots=(("person", "anna"),))
    with pytest.raises(ValueError, match=r"both trained on and spoken.*'call anna'"):
        Corpus(training=(one,), spoken=(one,))


def test_a_spoken_word_without_training_is_refused():
    known = Sentence(text="call anna", intent="call", slots=(("person", "anna"),))
    unknown = Sentence(text="call peter", intent="call", slots=(("person", "peter"),))
    with pytest.raises(ValueError, match="peter"):
        Corpus(training=(known,), spoken=(unknown,))


def test_slots_say_what_the_text_says_in_spoken_order():
    for sentence in corpus().spoken:
        values = iter(sentence.words)
        assert all(value in values for _, value in sentence.slots), sentence  # a subsequence: `in` eats the iterator
        assert all(value in SLOTS[slot] for slot, value in sentence.slots)
        assert len({value for _, value in sentence.slots}) == len(sentence.slots)


def test_drawing_is_seeded_and_balances_the_templates():
    first, again, other = (draw(30, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    for start in (0, 10, 20):
        assert {s.intent for s in first[start : start + 10]} == set(TEMPLATES)


def test_the_fourteen_missing_words_of_each_fault_are_slot_values_and_no_fault_hides_another():
    values = {value for options in SLOTS.values() for value in options}
    for words in (STALE_WORDS, FORGOTTEN_WORDS, RENAMED_WORDS):
        assert len(words) == 14
        assert words <= values
    assert not STALE_WORDS & FORGOTTEN_WORDS
    assert not STALE_WORDS & RENAMED_WORDS
