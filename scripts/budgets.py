"""Size budgets that ruff does not check, with our limits; run by ``make check``.

A file has at most 400 lines, a function 70, nesting 4, 4 positional parameters (self and cls apart). Complexity is ruff's C901.
Promises in place of code (to-do marks, NotImplementedError) are refused too.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES, FUNCTION_LINES, NESTING, POSITIONAL = 400, 70, 4, 4
PROMISE = re.compile(r"NotImplementedError|\b(?:TODO|FIXME|XXX)\b")
ROOT = Path(__file__).resolve().parent.parent
Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.With, ast.AsyncWith, ast.Match)


def nesting(body: list[ast.stmt], depth: int = 0) -> int:
    """Deepest chain of blocks; an elif is as deep as its if."""
    deepest = depth
    for node in body:
        if not isinstance(node, BLOCKS):
            continue
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(node, name, [])
            is_elif = name == "orelse" and len(inner) == 1 and isinstance(inner[0], ast.If) and isinstance(node, ast.If)
            deepest = max(deepest, nesting(inner, depth if is_elif else depth + 1) if inner else depth)
        for part in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
            deepest = max(deepest, nesting(part.body, depth + 1))
    return deepest


def function_findings(function: Function) -> Iterator[str]:
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    overrides = any(isinstance(node, ast.Name) and node.id == "override" for node in function.decorator_list)
    positional = 0 if overrides else len(names) - (bool(names) and names[0] in {"self", "cls"})  # an override's signature is its base's
    for found, allowed, what in (
        (lines, FUNCTION_LINES, "lines"),
        (nesting(function.body), NESTING, "levels of nesting"),
        (positional, POSITIONAL, "positional parameters"),
    ):
        if found > allowed:
            yield f"{function.lineno}: {function.name} has {found} {what}, allowed {allowed}"


def findings(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    count = text.count("\n")
    if count > FILE_LINES:
        yield f"1: {count} lines, allowed {FILE_LINES}: does it still answer one question?"
    for number, line in enumerate(text.splitlines(), 1):
        if PROMISE.search(line):
            yield f"{number}: a promise in place of code: {line.strip()}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from function_findings(node)


def main() -> int:
    paths = [path for room in ("src", "examples") for path in sorted((ROOT / room).rglob("*.py"))]
    rows = [f"{path.relative_to(ROOT)}:{finding}" for path in paths for finding in findings(path)]
    print("\n".join(rows) or f"budgets: {len(paths)} files within limits")
    return 1 if rows else 0


if __name__ == "__main__":
    sys.exit(main())
