"""The house itself: names resolve, the wrapper is light, every wire name is unique, the budgets bite."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import headwater
from headwater.conventions import attributes

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(info.name for info in pkgutil.walk_packages(headwater.__path__, "headwater.") if not info.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_resolves(name):
    module = importlib.import_module(name)
    assert [missing for missing in getattr(module, "__all__", ()) if not hasattr(module, missing)] == []


def test_the_wrapper_drags_nothing_heavy_into_a_host():
    heavy = ("numpy", "opentelemetry.sdk", "grpc", "wrapt", "pyarrow", "duckdb", "starlette")
    code = f"import headwater, sys; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_wire_names_are_unique_and_belong_to_a_namespace():
    names = [attribute.name for attribute in attributes.ALL]
    assert len(set(names)) == len(names)
    assert len(names) > 40
    families = [attribute for attribute in attributes.ALL if attribute.is_family]
    assert {family.of("snr") for family in families} == {"headwater.quality.snr", "headwater.own.snr", "headwater.difficulty.snr"}


def test_no_room_writes_a_wire_name_of_its_own():
    """A literal headwater.* attribute outside conventions is a second place for a name."""
    known = {attribute.name for attribute in attributes.ALL if attribute.name.startswith("headwater.") and not attribute.is_family}
    guilty = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "src").rglob("*.py")
        if "conventions" not in path.parts
        for name in known - {"headwater.outcome"}
        if f'"{name}"' in path.read_text(encoding="utf-8")
    ]
    assert guilty == []


def test_the_budgets_bite(tmp_path):
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        budgets = importlib.import_module("budgets")
    finally:
        sys.path.pop(0)
    bad = tmp_path / "bad.py"
    body = "\n".join("    x = 1" for _ in range(75))
    bad.write_text(f"def long(a, b, c, d, e):\n{body}\n    raise {'NotImplemented'}Error\n")
    found = "\n".join(budgets.findings(bad))
    assert "has 77 lines" in found
    assert "5 positional parameters" in found
    assert "a promise in place of code" in found


def test_the_versions_agree():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = text.split('version = "')[1].split('"')[0]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_constraints_carry_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 50
    assert [line for line in lines if line.startswith("-") or "://" in line or "@" in line] == []
