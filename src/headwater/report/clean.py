"""One escaper for text that came out of a trace, before any terminal or page sees it."""

import re
from typing import Final

# Operating-system commands (titles, hyperlinks), device and privacy strings up to their terminator; then CSI sequences; then two-byte escapes.
_STRING_SEQUENCE: Final = r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"
_CONTROL_SEQUENCE: Final = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
_ESCAPE: Final = re.compile(f"{_STRING_SEQUENCE}|{_CONTROL_SEQUENCE}|\x1b[ -/]*[0-~]?", re.DOTALL)
# Controls, lone surrogates, and the marks that reorder text on screen: a name must not read backwards.
_INVISIBLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")


def clean(text: str, *, limit: int = 400) -> str:
    """`text` on one line, without terminal escapes, controls and direction marks; cut to `limit` characters with "…"."""
    shown = _INVISIBLE.sub(" ", _ESCAPE.sub("", text[: 4 * limit]))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
