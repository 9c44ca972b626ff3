"""docs/conventions.md is what the table says, and the check notices when it is not."""

import subprocess
import sys
from pathlib import Path

from headwater.conventions.attributes import ALL

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "conventions_doc.py"


def test_the_document_is_the_table():
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_attribute_is_documented_once():
    text = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    assert [attribute.name for attribute in ALL if text.count(f"| `{attribute.name}` |") != 1] == []


def test_a_changed_document_is_noticed_and_written_again(tmp_path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    copy = scripts / SCRIPT.name
    copy.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    check = [sys.executable, str(copy), "--check"]
    missing = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stdout) == (1, "conventions.md differs from the table of attributes: run make docs\n")
    assert subprocess.run([sys.executable, str(copy)], check=False).returncode == 0
    assert subprocess.run(check, check=False).returncode == 0
    written = tmp_path / "docs" / "conventions.md"
    assert written.read_text(encoding="utf-8") == (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    written.write_text(written.read_text(encoding="utf-8").replace("confidence", "certainty"), encoding="utf-8")
    assert subprocess.run(check, capture_output=True, check=False).returncode == 1
