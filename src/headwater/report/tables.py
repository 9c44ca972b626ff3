"""The few shapes every terminal page is made of."""

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Final

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from headwater.report.clean import clean

_LEFT: Final = frozenset(
    {
        "component",
        "stage",
        "pipeline",
        "stages",
        "trace",
        "from",
        "to",
        "attribute",
        "role",
        "verdict",
        "effect",
        "goes to",
        "span",
        "flags",
        "first",
        "last",
    }
)
_LEFT_TOO: Final = frozenset({"start", "status", "", "declared", "used"})


class Page:
    """Collects renderables and gives them back as one string of `width` columns, with or without colour escapes."""

    def __init__(self, width: int, *, colour: bool) -> None:
        self._parts: list[RenderableType] = []
        self._width, self._colour = max(40, width), colour

    def add(self, *parts: RenderableType) -> None:
        self._parts.extend(parts)

    def text(self) -> str:
        """Ends with one newline; no trailing blanks in plain mode."""
        out = StringIO()
        console = Console(
            file=out,
            width=self._width,
            force_terminal=self._colour,
            color_system="truecolor" if self._colour else None,
            no_color=not self._colour,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
            _environ=_NO_ENVIRONMENT,
        )
        for place, part in enumerate(self._parts):
            if place and isinstance(part, Table):
                console.print()
            console.print(part)
        lines = out.getvalue().split("\n")
        return "\n".join(line if self._colour else line.rstrip() for line in lines).rstrip("\n") + "\n"


# rich reads COLUMNS, TERM and JUPYTER_* of the process unless told otherwise; a renderer depends on its arguments alone.
_NO_ENVIRONMENT: Final[Mapping[str, str]] = {}


def cell(text: str | None) -> Text:
    """Text of a trace as a cell: cleaned, never read as markup."""
    return Text("–" if text is None else clean(str(text), limit=120), overflow="fold")


def heading(title: str, detail: str) -> Text:
    return Text.assemble((title, "bold"), ("  " + detail, "dim"))


def grid(title: str | None, columns: Sequence[str]) -> Table:
    """A light table: names to the left, numbers to the right."""
    table = Table(
        title=None if title is None else Text(title, "bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        header_style="dim",
        pad_edge=False,
        show_edge=False,
    )
    for name in columns:
        left = name in _LEFT or name in _LEFT_TOO
        table.add_column(Text(name), justify="left" if left else "right", no_wrap=not left, overflow="fold")
    return table


def warning_lines(warnings: Sequence[Mapping[str, str]]) -> list[Text]:
    """One line a warning, marked with "!"."""
    return [Text(f"! {clean(warning['text'], limit=600)}", "yellow") for warning in warnings]
