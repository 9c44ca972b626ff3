"""Faults put in on purpose: what they are, and which call gets one. Off unless a plan is in force; every one is stamped on its span.

with hw.faults.plan({"asr": hw.faults.Slow(seconds=0.2), "vad*": hw.faults.Fail()}, share=0.3, seed=7):
    ...
"""

from headwater.faults.kinds import Corrupt, Degrade, Drop, Fail, Fault, InjectedFaultError, Slow
from headwater.faults.planning import Plan, Rule, choose, plan

__all__ = ["Corrupt", "Degrade", "Drop", "Fail", "Fault", "InjectedFaultError", "Plan", "Rule", "Slow", "choose", "plan"]
