"""The wrapped pipeline: what its spans carry, the demo, and the drill on file."""

import csv
import itertools
import json
import logging

import numpy as np
import pytest
from examples.pipelines.speech import demo, generate
from examples.pipelines.speech.batch import run_batch
from examples.pipelines.speech.pipeline import Assistant
from examples.pipelines.speech.setup import FAULTS, HEALTHY, STAGES, with_faults
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headwater.conventions.attributes import (
    CONFIDENCE,
    CONFIG_DIGEST,
    DATA_VERSION,
    DIFFICULTY,
    FINAL,
    INPUT_SIZE,
    MODEL_VERSION,
    OUTCOME_LOSS,
    OUTCOME_NAME,
    OUTCOME_SPAN_NAME,
    OUTPUT_SIZE,
    OWN,
    PIPELINE_NAME,
    QUALITY,
    RUN_ID,
    SESSION_ID,
    STAGE_NAME,
    STAGE_VERSION,
)

pytestmark = pytest.mark.speech


def _by_stage(exporter, run_id):
    spans = [span for span in exporter.get_finished_spans() if span.attributes.get(RUN_ID.name) == run_id]
    return {span.attributes[STAGE_NAME.name]: span for span in spans if STAGE_NAME.name in span.attributes}, spans


def test_every_stage_leaves_a_span_with_version_sizes_and_run_id(replays, exporter):
    utterance = replays[0].utterance
    answer = Assistant(HEALTHY).answer(utterance, run_id="run-1")
    stages, spans = _by_stage(exporter, "run-1")
    assert tuple(stages) == STAGES
    assert len(spans) == 5
    root = next(span for span in spans if span.parent is None)
    assert root.attributes[SESSION_ID.name] == utterance.sentence.text
    assert root.attributes[DIFFICULTY.of("duration_s")] == pytest.approx(utterance.duration_s)
    assert f"{root.context.trace_id:032x}" in answer.token
    assert answer.trace_id == root.context.trace_id
    for span in stages.values():
        assert span.parent.span_id == root.context.span_id
        assert span.attributes[PIPELINE_NAME.name] == "speech"
        assert span.attributes[STAGE_VERSION.name]
        assert span.attributes[CONFIG_DIGEST.name]
        assert span.attributes[INPUT_SIZE.name] > 0
        assert span.attributes[OUTPUT_SIZE.name] > 0
    for earlier, later in itertools.pairwise(STAGES):
        assert stages[earlier].attributes[OUTPUT_SIZE.name] == stages[later].attributes[INPUT_SIZE.name]
        assert stages[earlier].end_time <= stages[later].start_time
    assert stages["nlu"].attributes[FINAL.name] is True


def test_figures_stand_under_their_roles(replays, exporter):
    passage = Assistant(HEALTHY).answer(replays[0].utterance, run_id="run-2").passage
    stages, _ = _by_stage(exporter, "run-2")
    attributes = {stage: dict(span.attributes) for stage, span in stages.items()}
    assert attributes["capture"][OWN.of("snr_db")] == pytest.approx(passage.captured.snr_db)
    assert attributes["vad"][OWN.of("dropped_max")] == pytest.approx(passage.detected.dropped_max)
    assert attributes["vad"][OWN.of("segments")] == len(passage.detected.segments)
    assert attributes["vad"][CONFIDENCE.name] == pytest.approx(passage.detected.kept_probability)
    assert attributes["asr"][CONFIDENCE.name] == pytest.approx(passage.heard.confidence)
    assert attributes["asr"][DATA_VERSION.name] == HEALTHY.asr.release
    assert attributes["asr"][MODEL_VERSION.name] == "5.1"
    assert attributes["nlu"][OWN.of("unknown_share")] == passage.understood.unknown_share
    assert attributes["nlu"][QUALITY.of("coverage")] == passage.understood.coverage
    assert not [name for name in attributes["asr"] if name.startswith(OWN.prefix)]  # nothing but its version can accuse the recogniser


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_shows_in_the_digest_of_its_own_stage_alone(replays, exporter, name):
    fault = FAULTS[name]
    for run_id, setup in (("healthy", HEALTHY), ("faulty", with_faults(HEALTHY, [fault]))):
        Assistant(setup).answer(replays[2].utterance, run_id=run_id)
    healthy, faulty = (_by_stage(exporter, run_id)[0] for run_id in ("healthy", "faulty"))
    differ = [stage for stage in STAGES if healthy[stage].attributes[CONFIG_DIGEST.name] != faulty[stage].attributes[CONFIG_DIGEST.name]]
    assert differ == [fault.stage]


def test_a_batch_reports_outcomes_that_link_to_their_runs(replays, exporter):
    some = [replay.utterance for replay in replays[:3]]
    outcomes = run_batch(some, [(), (FAULTS["strict"],), (FAULTS["stale"], FAULTS["forgotten"])])
    verdicts = [span for span in exporter.get_finished_spans() if span.name == OUTCOME_SPAN_NAME]
    said = {(v.attributes[RUN_ID.name], v.attributes[OUTCOME_NAME.name]): v for v in verdicts}
    assert len(said) == len(verdicts) == 6
    for outcome in outcomes:
        verdict = said[outcome.run_id, "loss"]
        assert verdict.attributes[OUTCOME_LOSS.name] == outcome.loss
        assert [link.context.trace_id for link in verdict.links] == [outcome.trace_id]
        assert said[outcome.run_id, "wer"].attributes[OUTCOME_LOSS.name] == pytest.approx(outcome.wer)
        assert outcome.truth.loss == outcome.loss
        assert outcome.duration_ns > 1_000_000
    assert [outcome.faults for outcome in outcomes] == [(), ("strict",), ("stale", "forgotten")]
    assert [outcome.truth.faulty for outcome in outcomes] == [(), ("vad",), ("asr", "nlu")]


def test_a_batch_of_uneven_lists_is_refused(replays):
    with pytest.raises(ValueError, match="argument 2"):
        run_batch([replays[0].utterance], [])
    assert run_batch([], []) == []


def test_the_demo_splits_between_two_runs_and_knows_the_truth(exporter):
    heard = []
    result = demo.run_demo("nlu", count=20, seed=6, workers=0, on_progress=lambda *step: heard.append(step))
    starts = {span.attributes[RUN_ID.name]: span for span in exporter.get_finished_spans() if span.name == "speech"}
    assert len(starts) == 20
    for i, outcome in enumerate(result.outcomes):
        root = starts[outcome.run_id]
        if i < 10:
            assert result.start_ns <= root.start_time <= root.end_time < result.split_ns
        else:
            assert result.split_ns <= root.start_time < result.end_ns
    assert {outcome.faults for outcome in result.outcomes[:10]} == {()}
    assert {outcome.faults for outcome in result.outcomes[10:]} == {("forgotten",)}
    assert result.loss_share["nlu"] > 0
    assert {stage for stage in STAGES if result.loss_share[stage]} == {"nlu"}
    assert result.failures == result.unattributable + sum(result.top.values())
    assert heard[0] == ("utterances", 1, 20)
    assert heard[-1] == ("reruns", 20, 20)
    document = json.loads(json.dumps(result.document()))
    assert document["truth"]["stage"] == "nlu"
    assert len(document["runs"]) == 20


def test_the_demo_names_what_it_does_not_know():
    with pytest.raises(ValueError, match="stages: capture, vad, asr, nlu"):
        demo.run_demo("ars")
    with pytest.raises(ValueError, match="at least 2"):
        demo.run_demo("vad", count=1)
    assert demo.fault_named("capture").name == "white"
    assert demo.fault_named("babble").stage == "capture"
    assert demo.main(["--fault", "ars"]) == 2


def test_a_drill_on_file_holds_the_same_spans_in_both_forms(tmp_path, exporter, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL, logger="opentelemetry")
    for kind in ("pb", "jsonl"):
        monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", None)
        monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER_SET_ONCE._done", False)
        out = tmp_path / kind
        assert generate.main(["--utterances", "4", "--seed", "8", "--mix", "--workers", "0", "--format", kind, "--out", str(out)]) == 0
    request = ExportTraceServiceRequest.FromString((tmp_path / "pb.pb").read_bytes())
    spans = [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
    lines = [json.loads(line) for line in (tmp_path / "jsonl.jsonl").read_text().splitlines()]
    written = [span for line in lines for r in line["resourceSpans"] for s in r["scopeSpans"] for span in s["spans"]]
    assert len(spans) == len(written) == 4 * (5 + 2)
    assert [span.name for span in spans] == [span["name"] for span in written]
    assert all(len(span["traceId"]) == 32 and len(span["spanId"]) == 16 for span in written)
    with (tmp_path / "pb_truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["trace_id"] for row in rows} <= {span.trace_id.hex() for span in spans}
    with (tmp_path / "jsonl_truth.csv").open() as file:
        again = list(csv.DictReader(file))
    assert [{k: v for k, v in row.items() if k != "trace_id"} for row in rows] == [{k: v for k, v in row.items() if k != "trace_id"} for row in again]
    for row in rows:
        shares = sum(float(row[f"loss_share_{stage}"]) for stage in STAGES)
        assert shares == pytest.approx(float(row["loss"]) - float(row["healthy_loss"]), abs=1e-5)


def test_the_mix_has_the_asked_shares_and_keeps_the_unseen_kinds_apart():
    drawn = generate.draw_mix(2000, rng=np.random.default_rng(0))
    counts = np.bincount([len(faults) for faults in drawn], minlength=3) / len(drawn)
    assert counts == pytest.approx(generate.MIX, abs=0.04)
    assert {fault.name for faults in drawn for fault in faults} == {fault.name for fault in FAULTS.values() if not fault.held_back}
    unseen = generate.draw_mix(500, rng=np.random.default_rng(0), kinds="unseen")
    assert {fault.name for faults in unseen for fault in faults} == {fault.name for fault in FAULTS.values() if fault.held_back}
    assert all(len({fault.stage for fault in faults}) == len(faults) for faults in drawn)
