"""Many utterances through the traced pipeline, each under its own faults, with the final outcome reported and the truth found by rerunning."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from time import time_ns

import headwater as hw
from examples.pipelines.speech.pipeline import Assistant, warm_up
from examples.pipelines.speech.setup import HEALTHY, Fault, Setup, with_faults
from examples.pipelines.speech.truth import Passage, Replay, Truth, truth_of
from examples.pipelines.speech.vad import VadErrors, vad_errors
from examples.pipelines.speech.voice import Utterance

Progress = Callable[[str, int, int], None]
"""Told (what is going on, done, of how many)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """One utterance's run and its truth.

    `started_ns` (wall clock) lies before the run's first span; `loss` is 0 or 1 for intent and slots, `wer` the word error rate of what was
    heard; `vad_errors` are rates per 10 ms frame; `truth` is None where it was not asked for.
    """

    utterance: Utterance
    faults: tuple[str, ...]
    run_id: str
    trace_id: int
    started_ns: int
    duration_ns: int
    loss: float
    wer: float
    vad_errors: VadErrors
    truth: Truth | None


def run_batch(
    utterances: Sequence[Utterance],
    faults: Sequence[Sequence[Fault]],
    *,
    truth: bool = True,
    workers: int = 0,
    on_progress: Progress | None = None,
) -> list[Outcome]:
    """Run each utterance under the faults at the same place of `faults`, in order, and report each outcome as ``loss`` and ``wer``.

    The runs come first, alone on the machine, so that reruns do not disturb their latency; the truth after them, in this process or in `workers`
    others. Run ids are the utterances' keys.

    Raises:
        ValueError: the two sequences differ in length.
    """
    setups = [with_faults(HEALTHY, some) for some in faults]
    tell = on_progress or _silent
    if utterances:
        warm_up(setups, utterances[0])
    runs = []
    for done, (utterance, setup) in enumerate(zip(utterances, setups, strict=True), start=1):
        started_ns = time_ns()
        answer = Assistant(setup).answer(utterance, run_id=utterance.key)
        hw.outcome(answer.token, loss=answer.loss, label="wrong" if answer.loss else "right", source="task-check")
        hw.outcome(answer.token, loss=answer.wer, name="wer", source="transcript-check")
        runs.append((started_ns, answer))
        tell("utterances", done, len(utterances))
    truths: list[Truth | None] = [None] * len(runs)
    if truth:
        jobs = [(utterance, setup, answer.passage) for utterance, setup, (_, answer) in zip(utterances, setups, runs, strict=True)]
        for done, found in enumerate(_truths(jobs, workers=workers), start=1):
            truths[done - 1] = found
            tell("reruns", done, len(jobs))
    return [
        Outcome(
            utterance=utterance,
            faults=tuple(fault.name for fault in some),
            run_id=answer.run_id,
            trace_id=answer.trace_id,
            started_ns=started_ns,
            duration_ns=answer.duration_ns,
            loss=answer.loss,
            wer=answer.wer,
            vad_errors=vad_errors(answer.passage.detected.segments, utterance),
            truth=found,
        )
        for utterance, some, (started_ns, answer), found in zip(utterances, faults, runs, truths, strict=True)
    ]


Job = tuple[Utterance, Setup, Passage]


def _truths(jobs: Sequence[Job], *, workers: int) -> Iterator[Truth]:
    """The truth of each job, in order. Worker processes are spawned: a fork would copy the exporter's threads and locks in mid-air."""
    if workers == 0:
        yield from map(_truth, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_truth, jobs, chunksize=4)


def _truth(job: Job) -> Truth:
    utterance, setup, passage = job
    replay = Replay(utterance=utterance)
    replay.remember(setup, passage)
    return truth_of(replay, setup)


def _silent(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody wants to see."""
