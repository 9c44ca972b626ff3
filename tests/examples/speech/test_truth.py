"""Reruns: a fault changes its stage and what comes after, and the shares of blame add up."""

import dataclasses
import itertools

import numpy as np
import pytest
from examples.pipelines.speech.asr import Heard
from examples.pipelines.speech.setup import FAULTS, HEALTHY, STAGES, Fault, Setup, faults_of, faulty_stages, repaired, with_faults
from examples.pipelines.speech.truth import Replay, losses, shapley, truth_of
from examples.pipelines.speech.vad import VadConfig, vad_errors

pytestmark = pytest.mark.speech


def test_shapley_of_a_game_known_by_hand():
    # Either fault alone does nothing, both together cost 1; the third always costs .5.
    def value(group):
        return (1.0 if {"vad", "asr"} <= group else 0.0) + (0.5 if "nlu" in group else 0.0)

    assert shapley(("vad", "asr", "nlu"), value) == pytest.approx({"vad": 0.5, "asr": 0.5, "nlu": 0.5})
    assert shapley((), value) == {}


def test_shapley_equals_the_mean_over_all_orders():
    rng = np.random.default_rng(3)
    table = {frozenset(c): float(rng.normal()) for k in range(5) for c in itertools.combinations(STAGES, k)}
    expected = dict.fromkeys(STAGES, 0.0)
    orders = list(itertools.permutations(STAGES))
    for order in orders:
        for i, stage in enumerate(order):
            expected[stage] += (table[frozenset(order[: i + 1])] - table[frozenset(order[:i])]) / len(orders)
    assert shapley(STAGES, table.__getitem__) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["white", "babble", "strict", "stale", "forgotten"])
def test_a_fault_changes_its_stage_and_nothing_before_it(replays, name):
    fault = FAULTS[name]
    setup = with_faults(HEALTHY, [fault])
    assert faulty_stages(setup) == (fault.stage,)
    changed = set()
    for replay in replays[:6]:
        # A rerun of its own, so that nothing is shared with the healthy one by construction.
        healthy, faulty = replay.run(HEALTHY), Replay(utterance=replay.utterance).run(setup)
        if not np.array_equal(healthy.captured.samples, faulty.captured.samples):
            changed.add("capture")
        if healthy.detected.segments != faulty.detected.segments:
            changed.add("vad")
        if healthy.heard.words != faulty.heard.words:
            changed.add("asr")
        if healthy.understood != faulty.understood:
            changed.add("nlu")
    assert fault.stage in changed
    assert "nlu" in changed
    assert not changed & set(STAGES[: STAGES.index(fault.stage)])


def test_the_strict_detector_drops_speech_and_says_so(replays):
    setup = with_faults(HEALTHY, [FAULTS["strict"]])
    lost = []
    for replay in replays[:6]:
        healthy, strict = replay.run(HEALTHY), replay.run(setup)
        lost.append((vad_errors(healthy.detected.segments, replay.utterance), vad_errors(strict.detected.segments, replay.utterance)))
        assert strict.detected.dropped_max > healthy.detected.dropped_max
        assert strict.detected.kept_probability > healthy.detected.kept_probability  # surer while it drops speech: inverted
    assert np.mean([strict.false_negative for _, strict in lost]) > 0.05 > np.mean([healthy.false_negative for healthy, _ in lost])
    assert np.mean([strict.false_positive for _, strict in lost]) < np.mean([healthy.false_positive for healthy, _ in lost])


def test_the_share_of_unknown_words_tells_of_the_lexicon_and_not_of_the_recogniser(replays):
    stale, forgotten = (with_faults(HEALTHY, [FAULTS[name]]) for name in ("stale", "forgotten"))
    assert all(replay.run(stale).understood.unknown_share == 0.0 for replay in replays)
    assert any(replay.run(forgotten).understood.unknown_share > 0.0 for replay in replays)


def test_shares_sum_to_what_the_faults_changed(replays):
    setup = with_faults(HEALTHY, [FAULTS["strict"], FAULTS["stale"], FAULTS["forgotten"]])
    seen_failure = seen_blame = False
    for replay in replays:
        truth = truth_of(replay, setup)
        assert truth.faulty == ("vad", "asr", "nlu")
        assert sum(truth.loss_share.values()) == pytest.approx(truth.loss - truth.healthy_loss, abs=1e-12)
        assert sum(truth.wer_share.values()) == pytest.approx(truth.wer - truth.healthy_wer, abs=1e-12)
        assert truth.loss_share["capture"] == 0.0
        assert truth.wer_share["nlu"] == 0.0  # understanding changes no word
        assert (truth.loss, truth.wer) == losses(replay.utterance, replay.run(setup))
        assert (truth.top is None) == (truth.loss == truth.healthy_loss)
        if truth.top is not None:
            seen_blame = True
            assert truth.loss_share[truth.top] == max(truth.loss_share.values())
            assert truth.tied >= 1
        seen_failure |= truth.loss == 1.0
    assert seen_failure
    assert seen_blame


def test_a_healthy_setup_blames_nobody(replays):
    truth = truth_of(replays[0], HEALTHY)
    assert truth.faulty == ()
    assert truth.top is None
    assert set(truth.loss_share.values()) == {0.0}


def test_a_failure_of_the_healthy_run_too_is_nobodys(replays):
    replay = replays[0]
    passage = replay.run(HEALTHY)
    doomed = Replay(utterance=replay.utterance)
    deaf = dataclasses.replace(passage, heard=Heard(words=("call",), confidence=0.5, audio_s=1.0))
    doomed.remember(HEALTHY, deaf)
    truth = truth_of(doomed, with_faults(HEALTHY, [FAULTS["forgotten"]]))
    assert truth.loss == truth.healthy_loss == 1.0
    assert truth.top is None


def test_what_a_run_has_computed_is_not_computed_again(replays, monkeypatch):
    setup = with_faults(HEALTHY, [FAULTS["forgotten"]])
    passage = replays[1].run(setup)
    monkeypatch.setattr("examples.pipelines.speech.truth.recognise", None)
    monkeypatch.setattr("examples.pipelines.speech.truth.detect", None)
    fresh = Replay(utterance=replays[1].utterance)
    fresh.remember(setup, passage)
    assert truth_of(fresh, setup).wer_share == dict.fromkeys(STAGES, 0.0)


def test_repairing_keeps_only_what_is_named():
    broken = with_faults(HEALTHY, [FAULTS["white"], FAULTS["strict"], FAULTS["stale"]])
    assert repaired(broken, ()) == HEALTHY
    assert repaired(broken, ("vad",)) == with_faults(HEALTHY, [FAULTS["strict"]])
    assert repaired(broken, STAGES) == broken


def test_every_stage_has_faults_of_both_kinds_and_a_fault_of_the_wrong_stage_is_refused():
    for stage in STAGES:
        assert faults_of(stage)
        assert faults_of(stage, held_back=True)
    with pytest.raises(TypeError, match="needs a AsrConfig, found VadConfig"):
        Fault(name="x", stage="asr", config=VadConfig(), brief="")
    assert Setup() == HEALTHY
