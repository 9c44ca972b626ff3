"""The truth about blame, by rerunning: every subset of the faulty stages, the Shapley value of task failure and of word errors.

Each stage is deterministic given its input and configuration, so a rerun with one stage repaired is the counterfactual itself and not an estimate.
Shapley's value of stage s among the faulty stages F: the mean, over the orders in which the faults could be switched on, of what s adds. It sums
to loss(all faults) − loss(healthy) exactly.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import jiwer

from examples.pipelines.speech.asr import Heard, recognise
from examples.pipelines.speech.capture import CaptureConfig, Captured, capture
from examples.pipelines.speech.nlu import Understood, task_loss, understand
from examples.pipelines.speech.setup import STAGES, Setup, Stage, faulty_stages, repaired
from examples.pipelines.speech.vad import Detected, Probability, detect, speech_probability
from examples.pipelines.speech.voice import Utterance

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Passage:
    """What each stage handed on for one utterance under one setup."""

    captured: Captured
    detected: Detected
    heard: Heard
    understood: Understood


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Who is to blame for one utterance's `loss` (task failure) and `wer` under the faults `faulty`.

    `loss_share` and `wer_share` hold Shapley's value per stage, 0 for stages that were healthy; they sum to the loss less `healthy_loss` (and
    likewise the word error rate). `top` is the stage with the largest share of a failure, the earliest of equals, None when there is nothing to
    blame on a stage: the run succeeded, or the healthy run fails as well. `tied` counts the stages that share the largest value.
    """

    faulty: tuple[Stage, ...]
    loss: float
    healthy_loss: float
    wer: float
    healthy_wer: float
    loss_share: dict[Stage, float]
    wer_share: dict[Stage, float]
    top: Stage | None
    tied: int


@dataclass(slots=True, kw_only=True)
class Replay:
    """Runs of one utterance under many setups; every prefix of stages is computed once."""

    utterance: Utterance
    _captured: dict[CaptureConfig, Captured] = field(default_factory=dict)
    _probability: dict[CaptureConfig, Probability] = field(default_factory=dict)
    _detected: dict[tuple[object, ...], Detected] = field(default_factory=dict)
    _heard: dict[tuple[object, ...], Heard] = field(default_factory=dict)

    def remember(self, setup: Setup, passage: Passage) -> None:
        """Take over what a run of the real pipeline under `setup` has computed already."""
        self._captured[setup.capture] = passage.captured
        self._probability[setup.capture] = passage.detected.probability
        self._detected[setup.capture, setup.vad] = passage.detected
        self._heard[setup.capture, setup.vad, setup.asr] = passage.heard

    def run(self, setup: Setup) -> Passage:
        utterance = self.utterance
        captured = _once(self._captured, setup.capture, lambda: capture(utterance.sound, setup.capture, seed=utterance.seed))
        probability = _once(self._probability, setup.capture, lambda: speech_probability(captured.samples))
        detected = _once(self._detected, (setup.capture, setup.vad), lambda: detect(captured.samples, setup.vad, probability=probability))
        heard = _once(self._heard, (setup.capture, setup.vad, setup.asr), lambda: recognise(detected.samples, setup.asr))
        return Passage(captured=captured, detected=detected, heard=heard, understood=understand(heard.words, setup.nlu))


def _once(memo: dict[K, V], key: K, make: Callable[[], V]) -> V:
    if key not in memo:
        memo[key] = make()
    return memo[key]


def losses(utterance: Utterance, passage: Passage) -> tuple[float, float]:
    """(task loss 0 or 1, word error rate) of one run. The rate passes 1 when more words were made up than said."""
    wer = float(jiwer.wer(utterance.sentence.text, " ".join(passage.heard.words)))
    return task_loss(utterance.sentence, passage.understood), wer


def shapley(players: Iterable[Stage], value: Callable[[frozenset[Stage]], float]) -> dict[Stage, float]:
    """Exact Shapley value of each player of the game `value`, over all 2^k coalitions; {} without players."""
    everyone = tuple(players)
    count = len(everyone)
    result: dict[Stage, float] = {}
    for player in everyone:
        others = [p for p in everyone if p != player]
        total = 0.0
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for group in itertools.combinations(others, size):
                coalition = frozenset(group)
                total += weight * (value(coalition | {player}) - value(coalition))
        result[player] = total
    return result


def truth_of(replay: Replay, setup: Setup) -> Truth:
    """The blame of every faulty stage of `setup` for this utterance, by rerunning all subsets."""
    faulty = faulty_stages(setup)
    table = {
        frozenset(group): losses(replay.utterance, replay.run(repaired(setup, group)))
        for size in range(len(faulty) + 1)
        for group in itertools.combinations(faulty, size)
    }
    loss, wer = table[frozenset(faulty)]
    healthy_loss, healthy_wer = table[frozenset()]
    loss_share = dict.fromkeys(STAGES, 0.0) | shapley(faulty, lambda group: table[group][0])
    wer_share = dict.fromkeys(STAGES, 0.0) | shapley(faulty, lambda group: table[group][1])
    if abs(sum(loss_share.values()) - (loss - healthy_loss)) > 1e-9 or abs(sum(wer_share.values()) - (wer - healthy_wer)) > 1e-9:
        raise ArithmeticError("Shapley shares do not sum to what the faults changed")
    top, tied = _top(loss_share) if loss > healthy_loss else (None, 0)
    return Truth(
        faulty=faulty,
        loss=loss,
        healthy_loss=healthy_loss,
        wer=wer,
        healthy_wer=healthy_wer,
        loss_share=loss_share,
        wer_share=wer_share,
        top=top,
        tied=tied,
    )


def _top(share: dict[Stage, float]) -> tuple[Stage, int]:
    largest = max(share.values())
    best = [stage for stage in STAGES if share[stage] >= largest - 1e-9]
    return best[0], len(best)
