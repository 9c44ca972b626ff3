"""How the terminal is: width and colour, decided once from the terminal and NO_COLOR."""

import os
import shutil
import sys
from typing import TypedDict


class Style(TypedDict):
    """Keyword arguments of every renderer in `report.text`."""

    width: int
    colour: bool


def style() -> Style:
    """Colour only on a terminal that wants it (NO_COLOR, CI and TERM=dumb say no); as wide as the terminal, at least 80."""
    quiet = any(os.environ.get(name) for name in ("NO_COLOR", "CI")) or os.environ.get("TERM") == "dumb"
    return Style(width=max(80, shutil.get_terminal_size((110, 40)).columns), colour=sys.stdout.isatty() and not quiet)
