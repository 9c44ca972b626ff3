"""Which call gets which fault: repeatable, at the share asked for, and only where a rule matches."""

import pytest

from headwater import faults
from headwater.faults.planning import IN_FORCE, draw


def planned(share, seed=0):
    return faults.plan({"asr*": faults.Slow(seconds=1.0), "vad": faults.Fail()}, share=share, seed=seed).plan


def test_the_same_call_gets_the_same_lot_in_any_order():
    keys = [f"run-{number}" for number in range(300)]
    forward = [faults.choose(planned(0.4), "asr", key) for key in keys]
    backward = [faults.choose(planned(0.4), "asr", key) for key in reversed(keys)]
    assert forward == backward[::-1]
    assert forward != [faults.choose(planned(0.4, seed=1), "asr", key) for key in keys]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_calls_is_the_share_asked_for(share):
    hit = sum(faults.choose(planned(share), "asr", str(number)) is not None for number in range(4000)) / 4000
    assert abs(hit - share) <= 0.03


def test_only_stages_that_match_and_the_first_rule_wins():
    assert faults.choose(planned(1.0), "nlu", "k") is None
    assert isinstance(faults.choose(planned(1.0), "asr-large", "k"), faults.Slow)
    assert isinstance(faults.choose(planned(1.0), "vad", "k"), faults.Fail)


def test_stages_are_drawn_apart_from_each_other():
    plan = faults.plan({"*": faults.Drop()}, share=0.5).plan
    both = [(faults.choose(plan, "a", str(n)) is None, faults.choose(plan, "b", str(n)) is None) for n in range(400)]
    assert 120 <= sum(a == b for a, b in both) <= 280


def test_a_draw_is_the_same_number_everywhere():
    assert draw(7, "0\0asr\0run-1") == 0.8979481372599887
    assert 0.0 <= min(draw(seed, "\ud800") for seed in range(100)) < 0.1


def test_plans_nest_and_leave_nothing_behind():
    outer, inner = faults.plan({"a": faults.Drop()}), faults.plan({"b": faults.Drop()})
    with outer:
        with inner as plan:
            assert IN_FORCE[-1] is plan
        assert [outer.plan] == IN_FORCE
    assert IN_FORCE == []


def test_a_share_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="allowed: 0 to 1"):
        faults.plan({"a": faults.Drop()}, share=1.5)
