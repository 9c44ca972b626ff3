"""docs/guides/collector-and-jaeger.md lists every setting of the mounted files with its true default, and no other."""

import re

from e2e_processes import COLLECTOR_FILE, JAEGER_BADGER_FILE, JAEGER_FILE, ROOT

GUIDE = (ROOT / "docs" / "guides" / "collector-and-jaeger.md").read_text()


def _in_files(*paths):
    lines = [line for path in paths for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    return {pair for line in lines for pair in re.findall(r"\$\{env:([A-Z0-9_]+):-([^}]*)\}", line)}


def test_every_setting_is_listed_with_its_default():
    collector, jaeger = GUIDE.split("Jaeger reads these:")
    for text, paths in ((collector, [COLLECTOR_FILE]), (jaeger, [JAEGER_FILE, JAEGER_BADGER_FILE])):
        listed = re.findall(r"^\| `([A-Z0-9_]+)` \| `([^`]*)` \|", text, re.MULTILINE)
        assert len(listed) == len(dict(listed))
        assert set(listed) == _in_files(*paths)


def test_no_setting_is_without_a_default():
    """A mounted file must start with nothing set."""
    for path in (COLLECTOR_FILE, JAEGER_FILE, JAEGER_BADGER_FILE):
        assert not re.findall(r"\$\{env:[A-Z0-9_]+\}", path.read_text())
