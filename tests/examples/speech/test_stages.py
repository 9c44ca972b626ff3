"""Each stage on its own: the real voice, the real detector, the real recogniser."""

import numpy as np
import pytest
from examples.pipelines.speech import noise
from examples.pipelines.speech.asr import AsrConfig, recognise
from examples.pipelines.speech.capture import CaptureConfig, bandwidth_hz, capture, clipped_share, estimated_snr_db
from examples.pipelines.speech.nlu import NluConfig, task_loss, understand
from examples.pipelines.speech.sentences import Sentence, corpus
from examples.pipelines.speech.setup import HEALTHY
from examples.pipelines.speech.vad import FRAME, VadConfig, detect, vad_errors
from examples.pipelines.speech.voice import RATE_HZ, VOICES, Utterance, Voice, speak, utter

pytestmark = pytest.mark.speech
VOICE = Voice(name="en-us", words_per_minute=160, pitch=50)


def _utterance(length, start, stop):
    sentence = Sentence(text="x", intent="", slots=())
    return Utterance(key="k", sentence=sentence, voice=VOICE, seed=1, sound=np.zeros(length, np.float32), speech_start=start, speech_stop=stop)


def test_a_voice_says_the_same_whatever_was_said_before():
    sentence = corpus().spoken[0]
    first = utter(sentence, key="a", seed=5)
    for name in VOICES:
        speak("something else", Voice(name=name, words_per_minute=150, pitch=40))
    again, other = utter(sentence, key="a", seed=5), utter(sentence, key="a", seed=6)
    assert np.array_equal(first.sound, again.sound)
    assert len(first.sound) != len(other.sound)


def test_the_speech_lies_where_the_utterance_says():
    utterance = utter(corpus().spoken[3], key="a", seed=2)
    inside = utterance.sound[utterance.speech_start : utterance.speech_stop]
    outside = np.concatenate([utterance.sound[: utterance.speech_start], utterance.sound[utterance.speech_stop :]])
    assert 10 * np.log10(noise.power(inside) / noise.power(outside)) > 30
    assert utterance.speech_start >= 0.4 * RATE_HZ
    assert len(utterance.sound) - utterance.speech_stop >= 0.5 * RATE_HZ
    assert not utterance.sound.flags.writeable


def test_an_unknown_voice_is_named_with_those_that_work():
    with pytest.raises(ValueError, match=r"nobody.*en-us"):
        speak("hello", Voice(name="nobody", words_per_minute=150, pitch=50))


def test_noise_is_scaled_to_the_asked_ratio():
    rng = np.random.default_rng(0)
    for made in (noise.white(RATE_HZ, rng), noise.babble(RATE_HZ, rng)):
        assert noise.power(noise.at_snr(made, speech_power=0.04, snr_db=10.0)) == pytest.approx(0.004, rel=1e-3)


def test_capture_tells_of_its_own_faults(replays):
    utterance = replays[0].utterance
    clean = capture(utterance.sound, CaptureConfig(), seed=1)
    noisy = capture(utterance.sound, CaptureConfig(noise="white", snr_db=10.0), seed=1)
    narrow = capture(utterance.sound, CaptureConfig(cutoff_hz=1600.0), seed=1)
    clipped = capture(utterance.sound, CaptureConfig(ceiling=0.02), seed=1)
    assert clean.snr_db > 30 > noisy.snr_db > 5
    assert clean.bandwidth_hz > 6000
    assert 1500 < narrow.bandwidth_hz < 3000
    assert clipped.clipped_share > 0.1
    assert clean.clipped_share < 0.001
    assert np.array_equal(noisy.samples, capture(utterance.sound, CaptureConfig(noise="white", snr_db=10.0), seed=1).samples)
    assert not np.array_equal(noisy.samples, capture(utterance.sound, CaptureConfig(noise="white", snr_db=10.0), seed=2).samples)


def test_capture_figures_on_sounds_known_by_hand():
    time = np.arange(RATE_HZ) / RATE_HZ
    tone = np.round(8000 * np.sin(2 * np.pi * 1000 * time)).astype(np.int16)
    assert 1000 <= bandwidth_hz(tone) <= 1200
    square = np.where(tone >= 0, 8000, -8000).astype(np.int16)
    assert clipped_share(square) == 1.0
    rng = np.random.default_rng(0)
    quiet_then_loud = np.concatenate([rng.normal(0, 100, RATE_HZ // 2), rng.normal(0, 1000, RATE_HZ // 2)]).astype(np.int16)
    assert estimated_snr_db(quiet_then_loud) == pytest.approx(20.0, abs=1.5)


def test_vad_segments_join_over_the_hangover_and_pad():
    probability = np.array([0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0], dtype=float)
    samples = np.ones(len(probability) * FRAME, np.int16)
    bare = detect(samples, VadConfig(threshold=0.5, padding_ms=0, hangover_ms=0), probability=probability)
    assert bare.segments == ((3 * FRAME, 5 * FRAME), (7 * FRAME, 8 * FRAME))
    joined = detect(samples, VadConfig(threshold=0.5, padding_ms=0, hangover_ms=64), probability=probability)
    assert joined.segments == ((3 * FRAME, 8 * FRAME),)
    padded = detect(samples, VadConfig(threshold=0.5, padding_ms=32, hangover_ms=0), probability=probability)
    assert padded.segments == ((2 * FRAME, 9 * FRAME),)
    assert len(padded.samples) == 7 * FRAME
    assert padded.speech_ratio == pytest.approx(7 / 12)


def test_vad_figures_of_kept_and_dropped_frames():
    probability = np.array([0.1, 0.4, 0.9, 0.7, 0.2], dtype=float)
    found = detect(np.ones(5 * FRAME, np.int16), VadConfig(threshold=0.8, padding_ms=0, hangover_ms=0), probability=probability)
    assert found.kept_probability == pytest.approx(0.9)
    assert found.dropped_max == pytest.approx(0.7)
    nothing = detect(np.ones(5 * FRAME, np.int16), VadConfig(threshold=0.95), probability=probability)
    assert nothing.segments == ()
    assert np.isnan(nothing.kept_probability)
    assert len(nothing.samples) == 0


def test_vad_errors_against_known_speech():
    # 1 s, speech in [0.3, 0.7): 40 frames of speech, 60 without.
    utterance = _utterance(RATE_HZ, 4800, 11200)
    assert vad_errors(((4800, 11200),), utterance) == vad_errors(((4800, 8000), (8000, 11200)), utterance)
    right = vad_errors(((4800, 11200),), utterance)
    assert (right.false_positive, right.false_negative) == (0.0, 0.0)
    shifted = vad_errors(((4800 + 1600, 11200 + 1600),), utterance)  # 100 ms late: 10 of 40 lost, 10 of 60 too many
    assert shifted.false_negative == pytest.approx(10 / 40)
    assert shifted.false_positive == pytest.approx(10 / 60)
    nothing = vad_errors((), utterance)
    assert (nothing.false_positive, nothing.false_negative) == (0.0, 1.0)
    assert np.isnan(vad_errors((), _utterance(RATE_HZ, 0, RATE_HZ)).false_positive)


def test_a_clean_sentence_is_recognised_and_does_not_depend_on_what_came_before(replays):
    samples = {}
    for replay in replays[:4]:
        samples[replay.utterance.sentence.text] = replay.run(HEALTHY).detected.samples
    first = {text: recognise(sound, AsrConfig()) for text, sound in samples.items()}
    backwards = {text: recognise(sound, AsrConfig()) for text, sound in reversed(samples.items())}
    assert first == backwards
    assert sum(text == " ".join(heard.words) for text, heard in first.items()) >= 3
    assert all(0.0 < heard.confidence <= 1.0 for heard in first.values())


def test_silence_holds_no_word():
    heard = recognise(np.zeros(100, np.int16), AsrConfig())
    assert heard.words == ()
    assert heard.confidence == 0.0


def test_words_missing_from_the_language_model_are_never_heard(replays):
    sentence = next(s for s in corpus().spoken if "anna" in s.words)
    sound = capture(utter(sentence, key="a", seed=3).sound, CaptureConfig(), seed=3).samples
    assert "anna" in recognise(sound, AsrConfig()).words
    assert "anna" not in recognise(sound, AsrConfig(missing=frozenset({"anna"}))).words


def test_every_sentence_is_understood_from_its_own_words():
    for sentence in corpus().spoken:
        understood = understand(sentence.words, NluConfig())
        assert task_loss(sentence, understood) == 0.0, sentence
        assert understood.unknown_share == 0.0
        assert understood.coverage == 1.0
        assert understood.confidence == 1.0


def test_a_word_the_lexicon_lost_leaves_its_slot_open():
    sentence = Sentence(text="call anna", intent="remind", slots=())
    words = ("remind", "me", "to", "call", "anna", "today")
    whole, lost = understand(words, NluConfig()), understand(words, NluConfig(missing=frozenset({"anna"})))
    assert whole.slots == (("person", "anna"), ("day", "today"))
    assert lost.slots == (("day", "today"),)
    assert lost.unknown_share == pytest.approx(1 / 6)
    assert lost.confidence == pytest.approx(0.5)
    assert task_loss(sentence, lost) == 1.0


def test_a_slot_takes_the_first_of_two_words_unless_the_template_has_it_twice():
    assert understand(("remind", "me", "to", "call", "anna", "peter", "today"), NluConfig()).slots == (("person", "anna"), ("day", "today"))
    cities = understand(("find", "a", "flight", "from", "boston", "to", "denver", "madrid", "today"), NluConfig())
    assert cities.slots == (("city", "boston"), ("city", "denver"), ("day", "today"))


def test_nothing_said_is_nothing_understood():
    empty, noise_words = understand((), NluConfig()), understand(("anna",), NluConfig())
    assert (empty.intent, empty.slots, empty.confidence) == ("", (), 0.0)
    assert noise_words.intent == ""
