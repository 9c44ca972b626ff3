"""`headwater doctor --config`: the patterns that match nothing, each with its reason."""

import json
import os
import subprocess
import sys

import pytest

FILES = {
    "hwdoc/__init__.py": "",
    "hwdoc/rank.py": "print('said at import')\n\n\nclass Ranker:\n    size = property(lambda self: 1)\n\n    def score(self, x):\n        return x\n",
    "hwdoc/broken.py": "raise RuntimeError('theirs')\n",
    "hwdoc/script.py": "raise SystemExit(3)\n",
    "hwdoc/__main__.py": "raise SystemExit('ran the program')\n",
}
FILE = """
[[instrument]]
match = ["hwdoc.rank:Ranker.score", "hwdoc.r*:*.sc*"]
confidence = "hwdoc.rank:Ranker"
[[instrument]]
match = {match}
confidence = "{confidence}"
"""


@pytest.fixture
def doctor(tmp_path):
    (tmp_path / "hwdoc").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def ask(match, *options, confidence="conf", text=None):
        (tmp_path / "headwater.toml").write_text(text or FILE.format(match=json.dumps(match), confidence=confidence))
        return subprocess.run(
            [sys.executable, "-m", "headwater", "doctor", "--config", "headwater.toml", *options],
            cwd=tmp_path,
            env=os.environ | {"NO_COLOR": "1", "COLUMNS": "300"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return ask


def test_all_that_matches_is_listed_and_the_exit_status_is_0(doctor):
    done = doctor("hwdoc.rank:Ranker.score", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["schema"] == "headwater.doctor/1"
    assert [(check["name"], check["text"]) for check in document["checks"]] == [
        ("[[instrument]] 1 hwdoc.rank:Ranker.score", "1: hwdoc.rank:Ranker.score"),
        ("[[instrument]] 1 hwdoc.r*:*.sc*", "1: hwdoc.rank:Ranker.score"),
        ("[[instrument]] 2 hwdoc.rank:Ranker.score", "1: hwdoc.rank:Ranker.score"),
        ("[[instrument]] 1 hwdoc.rank:Ranker", "can be called"),
    ]


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ("hwdoc.rank:Ranker.scoer", "module hwdoc.rank has no Ranker.scoer; there: Ranker.score"),
        ("hwdoc.r*:*.zzz", "module hwdoc.rank has no *.zzz; there: Ranker.score"),
        ("hwdoc.rank:Ranker.size", "cannot be instrumented: hwdoc.rank:Ranker.size"),
        ("hwdoc.rnak:Ranker.score", "hwdoc.rnak cannot be imported: ModuleNotFoundError"),
        ("hwdoc.rnak*:score", "no module here is called hwdoc.rnak*"),
        ("nowhere_at_all.*:score", "no module here is called nowhere_at_all.*"),
        ("hwdoc.broken:f", "hwdoc.broken cannot be imported: RuntimeError: theirs"),
        ("hwdoc.scrip*:f", "hwdoc.script cannot be imported: SystemExit: 3"),
        ("__main__:handle", "the script itself runs before it can be patched"),
    ],
)
def test_a_pattern_that_matches_nothing_is_named_with_its_reason(doctor, match, why):
    done = doctor(match)
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    assert line.startswith(f"✗ [[instrument]] 2 {match}  matched nothing: {why}")
    assert "✓ [[instrument]] 1 hwdoc.r*:*.sc*" in done.stdout


def test_a_callable_that_is_not_there_is_named(doctor):
    done = doctor("hwdoc.rank:Ranker.score", confidence="hwdoc.rank:conf")
    assert done.returncode == 1
    assert "✗ [[instrument]] 2 hwdoc.rank:conf  AttributeError: module 'hwdoc.rank' has no attribute 'conf'" in done.stdout


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("[[instrument]]\n", 2, "match is missing"),
        ("[service]\nhost = '127.0.0.1'\n", 1, "instruments nothing"),
        ("[[instrument", 2, "not valid TOML"),
    ],
)
def test_a_file_that_is_wrong_or_says_nothing(doctor, text, code, says):
    done = doctor(None, text=text)
    assert done.returncode == code
    assert says in done.stdout + done.stderr


def test_a_module_that_ends_the_process_is_said(doctor, tmp_path):
    (tmp_path / "hwdoc" / "ends.py").write_text("import os\nos._exit(9)\n")
    done = doctor("hwdoc.ends:f")
    assert done.returncode == 2
    assert "end the process that imports them" in done.stderr


def test_a_function_that_is_held_where_it_cannot_be_replaced_is_named(doctor, tmp_path):
    (tmp_path / "hwdoc" / "web.py").write_text(
        "class Route:\n    def __init__(self, call):\n        self.call = call\n\n\n"
        "def handle(x):\n    return x\n\n\ndef inner(x):\n    return x\n\n\nROUTE = Route(handle)\nLATER = lambda call=inner: call(1)\n"
        "\n\ndef keep(call):\n    return lambda: call(1)\n\n\ndef kept(x):\n    return x\n\n\nKEPT = keep(kept)\n\n\ndef free(x):\n    return x\n\n\nFREE = [free]\n"
    )
    done = doctor("hwdoc.web:*e*", "--json")
    assert done.returncode == 1, done.stderr
    dark = {check["name"].split()[-1]: check["text"] for check in json.loads(done.stdout)["checks"] if not check["ok"]}
    assert dark == {
        "hwdoc.web:handle": "is also held by hwdoc.web.Route: calls from there are not traced",
        "hwdoc.web:inner": "is also held by a tuple: calls from there are not traced",
        "hwdoc.web:kept": "is also held by a closure: calls from there are not traced",
    }
