"""Documents are tests: Python blocks run, `headwater` lines name verbs and options that exist, `make` lines name targets, links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("README.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language):
    for path in DOCUMENTS:
        for number, match in enumerate(FENCE.finditer(path.read_text(encoding="utf-8"))):
            if match[1] == language:
                yield pytest.param(match[2], id=f"{path.relative_to(ROOT)}-{number}")


def commands(program):
    for block in blocks("console"):
        for line in block.values[0].splitlines():
            words = line.removeprefix("$ ").split("#")[0].strip()
            if line.startswith(f"$ {program} "):
                yield pytest.param(words, id=f"{block.id}-{words}")


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "HEADWATER_"))}
    environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "HEADWATER_STORE": str(tmp_path / "store"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", commands("headwater"))
def test_verbs_and_options_exist(line):
    words = shlex.split(line)[1:]
    verbs = [words[0]] + ([words[1]] if words[0] in {"report", "outcome"} else [])
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    shown = subprocess.run([sys.executable, "-m", "headwater", *verbs, "--help"], capture_output=True, text=True, env=environment, check=False)
    assert shown.returncode == 0, shown.stderr
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    assert [option for option in options if option not in shown.stdout] == []


def test_make_lines_name_targets_that_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {words.values[0].split()[1] for words in commands("make")}
    assert {"demo", "test"} <= named
    assert named <= targets


def test_links_lead_to_files_that_exist():
    lost = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in DOCUMENTS
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert lost == []
