"""What the faults of the speech pipeline really do, on fresh utterances: success, word errors, VAD rates, time, and which figures may accuse.

    python -m benchmarks.speech_truth --utterances 100 --seed 7

Every utterance runs healthy and under each fault alone, so differences are paired. The last table is the evidence behind the roles declared in
examples/pipelines/speech/pipeline.py: the area under the ROC curve of each figure for faults of its own stage, and for faults of earlier stages.
Two-sided: an area a below .5 is printed as −(1 − a): the figure falls under the fault.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Final

import numpy as np
from examples.pipelines.speech.asr import recognise
from examples.pipelines.speech.capture import capture
from examples.pipelines.speech.nlu import understand
from examples.pipelines.speech.pipeline import warm_up
from examples.pipelines.speech.setup import FAULTS, HEALTHY, STAGES, with_faults
from examples.pipelines.speech.truth import Passage, Replay, losses
from examples.pipelines.speech.vad import detect, vad_errors
from examples.pipelines.speech.voice import RATE_HZ, Utterance, utterances
from scipy.stats import rankdata

FIGURES: Final[dict[tuple[str, str], Callable[[Passage], float]]] = {
    ("capture", "own.snr_db"): lambda p: p.captured.snr_db,
    ("capture", "own.clipped_share"): lambda p: p.captured.clipped_share,
    ("capture", "own.bandwidth_hz"): lambda p: p.captured.bandwidth_hz,
    ("vad", "own.dropped_max"): lambda p: p.detected.dropped_max,
    ("vad", "own.segments"): lambda p: float(len(p.detected.segments)),
    ("vad", "confidence"): lambda p: p.detected.kept_probability,
    ("vad", "quality.speech_ratio"): lambda p: p.detected.speech_ratio,
    ("vad", "quality.second_opinion"): lambda p: p.detected.second_opinion,
    ("asr", "confidence"): lambda p: p.heard.confidence,
    ("asr", "quality.words_per_second"): lambda p: len(p.heard.words) / max(p.heard.audio_s, 0.01),
    ("nlu", "own.unknown_share"): lambda p: p.understood.unknown_share,
    ("nlu", "quality.coverage"): lambda p: p.understood.coverage,
    ("nlu", "confidence"): lambda p: p.understood.confidence,
}


def area(faulty: Sequence[float], healthy: Sequence[float]) -> float:
    """Probability that a faulty run's figure exceeds a healthy run's, ties half (Mann and Whitney); NaN without runs, NaN figures left out."""
    high, low = (np.asarray([v for v in values if not np.isnan(v)]) for values in (faulty, healthy))
    if not high.size or not low.size:
        return float("nan")
    ranks = rankdata(np.concatenate([high, low]))
    return float((ranks[: high.size].sum() - high.size * (high.size + 1) / 2) / (high.size * low.size))


def stage_times_ms(spoken: Sequence[Utterance]) -> dict[str, float]:
    """Mean time of each stage of the healthy pipeline, models loaded."""
    warm_up([HEALTHY], spoken[0])
    times: dict[str, list[int]] = defaultdict(list)
    for utterance in spoken:
        marks = [perf_counter_ns()]
        captured = capture(utterance.sound, HEALTHY.capture, seed=utterance.seed)
        marks.append(perf_counter_ns())
        detected = detect(captured.samples, HEALTHY.vad)
        marks.append(perf_counter_ns())
        heard = recognise(detected.samples, HEALTHY.asr)
        marks.append(perf_counter_ns())
        understand(heard.words, HEALTHY.nlu)
        marks.append(perf_counter_ns())
        for stage, spent in zip(STAGES, np.diff(marks), strict=True):
            times[stage].append(int(spent))
    return {stage: float(np.mean(spent)) / 1e6 for stage, spent in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speech_truth")
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    began = perf_counter_ns()
    spoken = utterances(options.utterances, seed=options.seed)
    voices_ms = (perf_counter_ns() - began) / 1e6 / len(spoken)
    seconds = float(np.mean([len(u.sound) for u in spoken])) / RATE_HZ
    print(f"{len(spoken)} utterances of {seconds:.1f} s, {len({u.sentence.text for u in spoken})} different sentences, seed {options.seed}")
    times = stage_times_ms(spoken)
    print(f"ms per utterance: voice {voices_ms:.1f}, " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in times.items()))

    replays = [Replay(utterance=utterance) for utterance in spoken]
    setups = {"healthy": HEALTHY} | {name: with_faults(HEALTHY, [fault]) for name, fault in FAULTS.items()}
    passages = {name: [replay.run(setup) for replay in replays] for name, setup in setups.items()}
    print(f"\n{'fault':10} {'stage':8} {'success':>8} {'WER':>6} {'VAD FP':>7} {'VAD FN':>7}")
    for name, runs in passages.items():
        loss = np.array([losses(u, p) for u, p in zip(spoken, runs, strict=True)])
        errors = [vad_errors(p.detected.segments, u) for u, p in zip(spoken, runs, strict=True)]
        positive, negative = (np.mean([getattr(e, kind) for e in errors]) for kind in ("false_positive", "false_negative"))
        stage = FAULTS[name].stage if name in FAULTS else ""
        kept = "  (held back)" if name in FAULTS and FAULTS[name].held_back else ""
        print(f"{name:10} {stage:8} {1 - loss[:, 0].mean():8.2f} {loss[:, 1].mean():6.3f} {positive:7.3f} {negative:7.3f}{kept}")

    print(f"\n{'stage':8} {'figure':24} {'own fault':>10} {'upstream':>9}   area under the curve, usual faults")
    usual = {name: fault for name, fault in FAULTS.items() if not fault.held_back}
    for (stage, figure), read in FIGURES.items():
        healthy = [read(p) for p in passages["healthy"]]
        own = [read(p) for name, fault in usual.items() if fault.stage == stage for p in passages[name]]
        upstream = [read(p) for name, fault in usual.items() if STAGES.index(fault.stage) < STAGES.index(stage) for p in passages[name]]  # type: ignore[arg-type]
        print(f"{stage:8} {figure:24} {_two_sided(area(own, healthy)):>10} {_two_sided(area(upstream, healthy)):>9}")


def _two_sided(value: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.2f}" if value >= 0.5 else f"-{1 - value:.2f}"


if __name__ == "__main__":
    main()
