"""The sentence: never a number without what it is compared with, and honest where something is missing."""

from dataclasses import replace

from tests.dashboard import factories as make

from headwater.model.blame import ErrorReport
from headwater.report.json import errors_document, latency_document
from headwater.report.sentence import sentence


def said(report: ErrorReport | None, *, latency: bool = False, compared: bool = True) -> str:
    errors = None if report is None else errors_document(report)
    return sentence(errors, latency_document(make.latency(compared=compared)) if latency else None)


def test_a_change_names_origin_input_heirs_and_rest_with_its_interval_and_coverage() -> None:
    assert said(make.errors()) == (
        "Errors 4.1 → 7.9 % (+3.8 points): asr own +2.6 [2.1, 3.1], input harder +0.9, the others +0.1, within noise, vad and nlu inherited only;"
        " 0.2 unexplained. 855 of 900 runs labelled against 800 before, 95 % intervals; identified."
    )


def test_the_document_carries_the_same_sentence() -> None:
    assert errors_document(make.errors())["sentence"] == said(make.errors())


def test_latency_follows_in_one_unit() -> None:
    assert said(make.errors(), latency=True).endswith("identified. p95 latency 781 → 1,017 ms (+236): asr own +231 [224, 239].")


def test_without_baseline_it_says_so_and_gives_shares_with_intervals() -> None:
    assert said(make.errors(compared=False), latency=True, compared=False) == (
        "Errors 7.9 % [6.2, 9.9]: asr 61 % of the blame [54, 69], vad 12 % [5, 20], capture 4 % [0, 12], input 6 %; 14 % unexplained;"
        " no baseline to compare with. 855 of 900 runs labelled, 95 % intervals; identified."
        " p95 latency 1.03 s [0.961, 1.12] s, 0.905 s of it in asr."
    )


def test_without_outcomes_it_blames_nobody() -> None:
    assert said(make.no_outcomes()) == "No outcomes for 900 runs, so no stage can be blamed: not identifiable."
    assert said(None, latency=True).startswith("No outcomes for 900 runs, so nothing says which of them went wrong. p95 latency")
    assert said(None) == "Nothing to report yet."


def test_not_identifiable_gives_the_reason_and_no_share() -> None:
    text = said(make.errors(compared=False, verdict="not identifiable"))
    assert "61 %" not in text
    assert "no stage can be blamed (nlu has neither own evidence nor a version: record nlu.version or an invariant of its work)" in text
    assert text.endswith("; not identifiable.")


def test_bounded_is_told_as_bounded() -> None:
    assert said(make.errors(verdict="bounded")).endswith("only bounded, not identified.")


def test_nothing_flagged_is_no_accusation() -> None:
    report = make.errors()
    assert report.comparison is not None
    calm = replace(report.comparison, stages=tuple(replace(stage, flagged=False) for stage in report.comparison.stages))
    text = said(replace(report, comparison=calm))
    assert "no stage's own change is clear of zero" in text
    assert "asr" not in text
    assert "all stages together +2.7, within noise" in text


def test_no_failure_leaves_nothing_to_blame() -> None:
    report = make.errors(compared=False)
    stages = tuple(replace(stage, blame_share=0.0, blame_low=0.0, blame_high=0.0) for stage in report.stages)
    text = said(replace(report, mean_loss=0.0, low=0.0, high=0.004, stages=stages, input_share=0.0, unexplained_share=0.0))
    assert text.startswith("Errors 0.0 % [0.0, 0.4]: no labelled run failed")


def test_an_easier_input_and_an_improvement_keep_their_signs() -> None:
    report = make.errors()
    assert report.comparison is not None
    change = report.comparison
    better = replace(
        change,
        current_loss=change.baseline_loss - 0.02,
        delta=-0.02,
        input_delta=-0.009,
        unexplained_delta=0.001,
        stages=(replace(change.stages[2], own_delta=-0.012, low=-0.02, high=-0.004),),
    )
    text = said(replace(report, comparison=better, stages=report.stages))
    assert text.startswith("Errors 4.1 → 2.1 % (−2.0 points): asr own −1.2 [−2.0, −0.4], input easier −0.9; 0.1 unexplained.")


def test_a_loss_that_is_no_rate_is_not_printed_as_per_cent() -> None:
    report = make.errors()
    assert report.comparison is not None
    change = replace(report.comparison, baseline_loss=3.2, current_loss=3.2 + report.comparison.delta)
    text = said(replace(report, outcome="cost", mean_loss=3.238, comparison=change))
    assert text.startswith("Mean cost 3.2 → 3.24 (+0.038): asr own +0.026 [0.021, 0.031]")
    assert "points" not in text


def test_names_from_traces_are_cleaned() -> None:
    report = make.errors()
    assert report.comparison is not None
    evil = replace(report.comparison.stages[2], stage="a\x1b[31ms\nr\u202e")
    text = said(replace(report, comparison=replace(report.comparison, stages=(*report.comparison.stages[:2], evil, report.comparison.stages[3]))))
    assert "\x1b" not in text
    assert "\n" not in text
    assert "\u202e" not in text
    assert "as r  own +2.6" in text
