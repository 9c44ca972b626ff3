"""``"pkg.mod*:Class.fn*"``: which functions of which modules; shell-style wildcards on both sides of the colon."""

import re
from fnmatch import translate
from types import ModuleType
from typing import Any, Final

from headwater.instrument import patching

_WILD: Final = re.compile(r"[*?\[]")
_NEVER: Final = ("headwater", "opentelemetry")  # by a wildcard: what makes a span must not become one
_SHAPE: Final = re.compile(r"[^:\s]+:[^:\s]+")


class Pattern:
    """One pattern. A name written out in full is also found through re-exports (``sklearn.svm:SVC.predict``); one with wildcards matches only what a
    module itself defines, and names between double underscores only where the pattern writes them out.
    """

    __slots__ = ("_module", "_name", "exact", "module", "qualname", "text", "wild_module")

    def __init__(self, text: object) -> None:
        if not isinstance(text, str) or not _SHAPE.fullmatch(text):
            message = (
                f"match {text!r} is no pattern; allowed: 'module:qualname', each side with * ? [] if you like, such as 'shop.rank*:Ranker.score*'"
            )
            raise ValueError(message)
        self.text = text
        self.module, _, self.qualname = text.partition(":")
        self.exact = not _WILD.search(self.qualname)
        self.wild_module = bool(_WILD.search(self.module))
        self._module = re.compile(translate(self.module))
        self._name = re.compile(translate(self.qualname))

    def wants(self, module: str) -> bool:
        if self.wild_module and module.partition(".")[0] in _NEVER:
            return False
        return self._module.match(module) is not None

    def places(self, module: ModuleType) -> list[tuple[str, Any, str]]:
        """(qualname, owner, name) of all it matches in a module whose name it wants."""
        if self.exact:
            found = patching.resolve(module, self.qualname)
            return [] if found is None else [(self.qualname, *found)]
        return [place for place in patching.walk(module) if self._name.match(place[0]) and self._may(place[2])]

    def _may(self, name: str) -> bool:
        dunder = name.startswith("__") and name.endswith("__")
        return not dunder or self.qualname.rpartition(".")[2].startswith("__")


def literal_package(module: str) -> str:
    """The packages before the first wildcard: ``"shop.rank*"`` -> ``"shop"``, ``"sh*"`` -> ``""``."""
    found = _WILD.search(module)
    return module if found is None else module[: found.start()].rpartition(".")[0]
