"""The four stages, wrapped: everything headwater needs to know of this pipeline is said in the decorators below.

Roles of the figures (see `headwater.own`): what tells of the stage's *own* work is marked so; confidence, coverage and whatever is computed from the
content received are symptoms and stay unmarked. Every stage carries a version and a digest of its configuration, and sizes in seconds or words.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter_ns

import headwater as hw
from examples.pipelines.speech import asr, capture, nlu, noise, vad
from examples.pipelines.speech.setup import Setup
from examples.pipelines.speech.truth import Passage, losses
from examples.pipelines.speech.voice import Utterance

PIPELINE = "speech"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """One traced run: what each stage handed on, how long the whole took, and how to speak of it later (`token`; `trace_id` is 0 untraced)."""

    run_id: str
    trace_id: int
    token: str
    passage: Passage
    duration_ns: int
    loss: float
    wer: float


class Assistant:
    """The pipeline under one setup. Stages are methods, so that versions and configurations are read off the setup at each call."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @hw.stage(
        "capture",
        type="io",
        version=lambda self: self.setup.capture.firmware,
        config=lambda self: self.setup.capture,
        quality={"snr_db": hw.own("snr_db"), "clipped_share": hw.own("clipped_share"), "bandwidth_hz": hw.own("bandwidth_hz")},
        input_size="duration_s",
        output_size="duration_s",
    )
    def captured(self, utterance: Utterance) -> capture.Captured:
        return capture.capture(utterance.sound, self.setup.capture, seed=utterance.seed)

    @hw.stage(
        "vad",
        type="model",
        model="silero-vad@6.2.0",
        config=lambda self: self.setup.vad,
        confidence=lambda detected: None if math.isnan(detected.kept_probability) else detected.kept_probability,
        quality={
            "dropped_max": hw.own("dropped_max"),
            "segments": hw.own(lambda detected: len(detected.segments)),
            "speech_ratio": "speech_ratio",
            "second_opinion": "second_opinion",
        },
        input_size="duration_s",
        output_size="duration_s",
    )
    def detected(self, captured: capture.Captured) -> vad.Detected:
        return vad.detect(captured.samples, self.setup.vad)

    @hw.stage(
        "asr",
        type="model",
        model="pocketsphinx-en-us@5.1",
        data_version=lambda self: self.setup.asr.release,
        config=lambda self: self.setup.asr,
        confidence="confidence",
        quality={"words_per_second": lambda heard: len(heard.words) / max(heard.audio_s, 0.01)},
        input_size="duration_s",
        output_size=lambda heard: len(heard.words),
    )
    def heard(self, detected: vad.Detected) -> asr.Heard:
        return asr.recognise(detected.samples, self.setup.asr)

    @hw.stage(
        "nlu",
        type="rule",
        data_version=lambda self: self.setup.nlu.release,
        config=lambda self: self.setup.nlu,
        confidence="confidence",
        confidence_kind="margin",
        quality={"unknown_share": hw.own("unknown_share"), "coverage": "coverage"},
        input_size=lambda heard: len(heard.words),
        output_size=lambda understood: len(understood.slots),
        final=True,
    )
    def understood(self, heard: asr.Heard) -> nlu.Understood:
        return nlu.understand(heard.words, self.setup.nlu)

    def answer(self, utterance: Utterance, *, run_id: str) -> Answer:
        """One run. Difficulty is what can be told of the sound before any stage has touched it; sentences repeat, so they are the session."""
        began_ns = perf_counter_ns()
        difficulty = {"duration_s": utterance.duration_s, "level_db": 10 * math.log10(noise.power(utterance.sound) + 1e-12)}
        with hw.run(PIPELINE, run_id=run_id, session_id=utterance.sentence.text, difficulty=difficulty, route="mobile", version="1.0") as run:
            captured = self.captured(utterance)
            detected = self.detected(captured)
            heard = self.heard(detected)
            passage = Passage(captured=captured, detected=detected, heard=heard, understood=self.understood(heard))
            trace_id, token = run.span.get_span_context().trace_id, hw.token()
        duration_ns = perf_counter_ns() - began_ns
        loss, wer = losses(utterance, passage)
        return Answer(
            run_id=run_id,
            trace_id=trace_id,
            token=token,
            passage=passage,
            duration_ns=duration_ns,
            loss=loss,
            wer=wer,
        )


def warm_up(setups: Iterable[Setup], utterance: Utterance) -> None:
    """Load models and build decoders before the first traced run, as a service does at its start. Leaves no span."""
    for setup in set(setups):
        asr.load(setup.asr)
        captured = capture.capture(utterance.sound, setup.capture, seed=utterance.seed)
        vad.speech_probability(captured.samples)
