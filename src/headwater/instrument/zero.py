"""`hw.instrument`: stages bound from outside, to code that is not the user's or shall not know of headwater.

A rule is a list of patterns and what the matching functions become. It is applied to the modules that are loaded, and to the others right after
they are imported. Rules are tried in the order they were made: the first that matches a function has it.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final, Unpack

from headwater.instrument import imports, isolate, patching
from headwater.instrument.objects import Bound, StepReader, Steps, bind
from headwater.instrument.patterns import Pattern
from headwater.instrument.spec import StageOptions, stage_spec
from headwater.instrument.stage import stage as stage_face

DecoratorFor = Callable[[str], patching.Decorator]  # of a qualname


class Instrumented:
    """What one rule has done so far."""

    __slots__ = ("_decorator_for", "_patches", "_steps", "_swept", "hits", "patterns")

    def __init__(self, patterns: tuple[Pattern, ...], decorator_for: DecoratorFor, steps: Steps | None = None) -> None:
        self.patterns = patterns
        self.hits: dict[str, list[str]] = {pattern.text: [] for pattern in patterns}  # pattern -> "module:qualname" of what it matched
        self._decorator_for = decorator_for
        self._steps = steps
        self._patches: list[patching.Patch | Bound] = []
        self._swept: list[tuple[Any, Any, str]] = []

    @property
    def matched(self) -> tuple[str, ...]:
        """``module:qualname`` of all that was matched, in the order it was found."""
        return tuple(dict.fromkeys(hit for hits in self.hits.values() for hit in hits))

    @property
    def replaced(self) -> tuple[tuple[Any, Any, str], ...]:
        """(old, new, module) of the functions of modules, whose copies were swept."""
        return tuple(self._swept)

    def wants(self, module: str) -> bool:
        return any(pattern.wants(module) for pattern in self.patterns)

    def apply(self, module: ModuleType, name: str) -> None:
        """Patch what matches in `module`. What cannot be patched is counted and left as it is."""
        with isolate.isolated(f"instrumenting module {name}"):
            self._apply(module, name)

    def _apply(self, module: ModuleType, name: str) -> None:
        pairs: list[tuple[Any, Any, str]] = []
        for pattern in self.patterns:
            if not pattern.wants(name):
                continue
            places = pattern.places(module)
            if not places and pattern.exact and not pattern.wild_module:
                isolate.note(f"pattern matched nothing: {pattern.text}", f"module {name} has no {pattern.qualname}")
            for qualname, owner, attribute in places:
                patch = self._replace(pattern, f"{name}:{qualname}", (owner, attribute))
                if isinstance(patch, patching.Patch) and isinstance(owner, ModuleType):
                    pairs.append((patch.value, patch.replacement, str(getattr(patch.value, "__module__", name))))
        if pairs:
            patching.sweep(pairs)
            self._swept.extend(pairs)

    def _replace(self, pattern: Pattern, what: str, place: tuple[Any, str]) -> patching.Patch | Bound | None:
        owner, name = place
        of_object = not isinstance(owner, (type, ModuleType)) and patching.own_value(owner, name) is patching.MISSING
        try:
            patch = (bind if of_object else patching.replace)(owner, name, self._decorator_for(what.partition(":")[2]))
        except (TypeError, AttributeError, ValueError) as error:
            isolate.note(f"cannot be instrumented: {what}", isolate.describe(error))
            return None
        if what not in self.hits[pattern.text]:
            self.hits[pattern.text].append(what)
        if patch is not None:
            self._patches.append(patch)
        return patch

    def uninstrument(self) -> None:
        """Put everything back, copies included, and match nothing from here on. Twice is once."""
        with _LOCK:
            if self in _RULES:
                _RULES.remove(self)
            for patch in reversed(self._patches):
                with isolate.isolated("undoing a patch"):
                    patch.undo()
            if self._swept:
                patching.sweep([(new, old, home) for old, new, home in self._swept])
            if self._steps is not None:
                self._steps.undo()
            self._patches.clear()
            self._swept.clear()
            if not _RULES:
                imports.deafen()


_RULES: Final[list[Instrumented]] = []
_LOCK: Final = threading.RLock()  # of the list, not of the patching: a look at a lazy module may import, and import locks come first


def rules() -> tuple[Instrumented, ...]:
    """Those in force."""
    return tuple(_RULES)


def add_rule(match: str | Sequence[str], decorator_for: DecoratorFor, steps: Steps | None = None) -> Instrumented:
    """Put a rule in force; `steps` is undone with it. Raises ValueError for a pattern that is none."""
    rule = Instrumented(as_patterns(match), decorator_for, steps)
    with _LOCK:
        _RULES.append(rule)
        imports.listen(_wanted, _imported)
    for name, module in list(sys.modules.items()):
        if rule.wants(name) and isinstance(module, ModuleType):
            rule.apply(module, name)
    return rule


def as_patterns(match: object) -> tuple[Pattern, ...]:
    """One text or a list of them. Raises ValueError for anything else, and for none at all."""
    texts: Sequence[object] = match if isinstance(match, (list, tuple)) else [match]
    if not texts:
        message = "match is empty; allowed: a pattern 'module:qualname', or a list of them"
        raise ValueError(message)
    return tuple(Pattern(text) for text in texts)


def _wanted(name: str) -> bool:
    return any(rule.wants(name) for rule in _RULES)


def _imported(module: ModuleType) -> None:
    for rule in rules():
        if rule.wants(module.__name__):
            rule.apply(module, module.__name__)


def stage_rule(match: str | Sequence[str], stage: str | None, options: StageOptions, steps: StepReader | None = None) -> Instrumented:
    """A rule that makes stages. Raises TypeError or ValueError for a wrong pattern, keyword or reader: here, not when a module is imported."""
    stage_spec(stage or "stage", options)
    if steps is None:
        return add_rule(match, lambda qualname: stage_face(stage or qualname, **options))
    composite = Steps(steps)

    def decorator_for(qualname: str) -> patching.Decorator:
        name = stage or qualname
        return lambda function: stage_face(name, **options)(composite.prologue(name, function))

    return add_rule(match, decorator_for, composite)


class InstrumentFace:
    """The one object behind `hw.instrument`; as ``headwater.instrument`` it is also the name of the package, whose modules it gives on."""

    def __call__(
        self, match: str | Sequence[str], /, *, stage: str | None = None, steps: StepReader | None = None, **options: Unpack[StageOptions]
    ) -> Instrumented:
        """Make stages of functions by name: ``hw.instrument("pkg.mod:fn", stage="vad", confidence="conf")``.

        Args:
            match: ``"module:qualname"`` with shell-style wildcards on either side, or a list; see `Pattern`. Modules not yet imported are patched
                right after their import, copies made by ``from x import f`` wherever they are.
            stage: its name; default the qualname of each function.
            steps: for methods of composites (a scikit-learn ``Pipeline``): gives (name, object, {method: keywords}) of what ``self`` consists of;
                they become stages ``<stage>.<name>``, by object: others of their classes stay as they are.
            options: every keyword of `hw.stage`.

        What is a stage already stays as it is. A name written out in full that its module does not have is said by the logger ``headwater``.
        Returns a handle: `matched`, `uninstrument()`. Raises ValueError for a pattern that is none, TypeError or ValueError for wrong keywords.
        """
        return stage_rule(match, stage, options, steps)

    def __getattr__(self, name: str) -> Any:
        package = sys.modules[__package__ or "headwater.instrument"]
        return getattr(package, name)


instrument: Final = InstrumentFace()


def uninstrument(match: str | None = None, /) -> None:
    """Undo `hw.instrument`: the rules that have this very pattern; without one, every rule, those of headwater.toml included."""
    for rule in rules():
        if match is None or any(pattern.text == match for pattern in rule.patterns):
            rule.uninstrument()
