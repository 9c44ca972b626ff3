"""Digests: equal code and configuration agree over processes, different ones differ."""

import dataclasses
import enum
import functools
import os
import subprocess
import sys

import numpy as np
import pytest

from headwater.instrument.digest import code_digest, config_digest

PROGRAM = """
from headwater.instrument.digest import code_digest, config_digest
def make(k):
    def helper(x):
        return x - 1
    def f(x, y={"a", "b", "c"}):
        "A docstring."
        if x in {"p", "q", "r", "s"}:
            return [lambda z: z + k for _ in y]
        return helper(x)
    return f
class Settings:
    def __init__(self):
        self.names, self.limit = {"x", "y", "z"}, 0.5
print(code_digest(make(3)), config_digest({"b": {1, 2}, "a": Settings(), "f": make(4)}))
"""


def run_with_hash_seed(seed):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
    ).stdout


def test_digests_agree_over_processes_and_hash_seeds():
    first = run_with_hash_seed("1")
    assert len(first.split()[0]) == 12
    assert {run_with_hash_seed("2"), run_with_hash_seed("77")} == {first}


def source(text):
    space = {}
    exec(compile(text, "<anywhere>", "exec"), space)
    return space["f"]


BASE = "def f(x, y=1):\n    '''Doc.'''\n    return [x + 1, 'a'], (lambda z: z * 2)\n"


@pytest.mark.parametrize(
    "other", [BASE.replace("Doc", "Another doc"), "\n\n# moved\n" + BASE, BASE.replace("'''Doc.'''\n", "'''Doc.'''\n    # a comment\n")]
)
def test_what_is_not_behaviour_does_not_count(other):
    assert code_digest(source(other)) == code_digest(source(BASE))


@pytest.mark.parametrize(
    "change",
    [("x + 1", "x + 2"), ("'a'", "'b'"), ("z * 2", "z * 3"), ("y=1", "y=2"), ("x + 1", "x - 1"), ("[x + 1", "[len(x)"), ("(x, y", "(x, *, y")],
)
def test_every_change_of_behaviour_counts(change):
    assert code_digest(source(BASE.replace(*change))) != code_digest(source(BASE))


def with_closure(value):
    return lambda x: x + value


def test_plain_closure_values_count_and_recursive_closures_end():
    assert code_digest(with_closure(1)) != code_digest(with_closure(2))
    assert code_digest(with_closure(1)) == code_digest(with_closure(1))

    def recursive(n):
        return recursive(n - 1) if n else 0

    assert len(code_digest(recursive)) == 12


class Callable:
    def __init__(self, k):
        self.k = k

    def __call__(self, x):
        return x + self.k


def test_every_kind_of_callable_has_a_digest():
    f = with_closure(1)
    assert code_digest(functools.lru_cache(f)) == code_digest(f)
    assert code_digest(functools.partial(f, 1)) != code_digest(functools.partial(f, 2))
    assert code_digest(Callable(1)) != code_digest(Callable(2))
    assert code_digest(Callable(1)) == code_digest(Callable(1))
    assert code_digest(len) != code_digest(sum)
    assert code_digest(Callable(1).__call__) == code_digest(Callable.__call__)


class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


@dataclasses.dataclass
class Settings:
    limit: float = 0.5
    mode: Mode = Mode.FAST


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ([1, 2], [2, 1]),
        ([1, [2]], [[1], 2]),
        (1, True),
        (1, "1"),
        (Settings(), Settings(limit=0.6)),
        (Settings(), Settings(mode=Mode.SLOW)),
        (np.zeros(3), np.zeros(4)),
        (np.zeros(3), np.ones(3)),
        (Slotted(1), Slotted(2)),
        (with_closure(1), with_closure(2)),
        (Mode.FAST, Mode.SLOW),
        (None, {}),
    ],
)
def test_different_configurations_differ(left, right):
    assert config_digest(left) != config_digest(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({1, 2, 3}, {3, 2, 1}), (Settings(), Settings()), (np.arange(3), np.arange(3)), (object(), object())],
)
def test_equal_configurations_agree(left, right):
    assert config_digest(left) == config_digest(right)


def test_the_code_counts_in_a_configuration_and_cycles_end():
    assert config_digest({}, code="a") != config_digest({}, code="b")
    loop = Slotted(None)
    loop.a = [loop] * 100
    assert len(config_digest(loop)) == 12
