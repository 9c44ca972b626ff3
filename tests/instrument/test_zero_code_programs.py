"""Programs that never import headwater, run as they are by `opentelemetry-instrument` and `headwater run`; the spans arrive by OTLP/HTTP."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from tests.instrument.test_configure import collector

__all__ = ["collector"]
BIN = Path(sys.executable).parent
NO_DISTRO = {"OTEL_PYTHON_DISTRO": "none", "OTEL_PYTHON_CONFIGURATOR": "none"}
LAUNCHERS = {
    "headwater run": ([str(BIN / "headwater"), "run", "--"], {}),
    "headwater run, options": ([str(BIN / "headwater"), "run", "--config", "headwater.toml", "--service", "voice"], {}),
    "opentelemetry-instrument": ([str(BIN / "opentelemetry-instrument")], {}),
    "opentelemetry-instrument, nothing sets a provider up": ([str(BIN / "opentelemetry-instrument")], NO_DISTRO),
    "both": ([str(BIN / "opentelemetry-instrument"), str(BIN / "headwater"), "run", "--"], {}),
}
FILES = {
    "headwater.toml": """
        [pipeline]
        name = "voice"
        version = "7"
        match = "voice.app:handle"
        run_id = "id"

        [[instrument]]
        match = "voice.asr:Recogniser.transcribe"
        stage = "asr"
        model = "tiny@1.2.3"
        confidence = "voice.read:confidence"
        quality.oov.own = "oov"

        [[instrument]]
        match = ["voice.nlu*:intent*", "voice.stream:words"]
        """,
    "voice/__init__.py": "",
    "voice/read.py": """
        def confidence(result):
            return result["conf"]
        """,
    "voice/asr.py": """
        class Recogniser:
            def transcribe(self, audio):
                return {"text": audio, "conf": 0.75, "oov": 0.5}
        """,
    "voice/nlu_rules.py": """
        def intent(heard):
            return heard["text"].upper()
        """,
    "voice/stream.py": """
        def words(text):
            yield from text.split()
        """,
    "voice/app.py": """
        from voice.asr import Recogniser
        from voice.nlu_rules import intent  # a copy by name

        STEPS = [Recogniser().transcribe, intent]

        def handle(utterance):
            value = utterance["audio"]
            for step in STEPS:
                value = step(value)
            from voice import stream  # late, in the middle of the work
            return list(stream.words(value))
        """,
    "main.py": """
        import sys
        from voice.app import handle

        assert not any(name.startswith("voice.") and "stream" in name for name in sys.modules)
        print(sys.stdin.read().strip(), *handle({"id": "utterance-17", "audio": "lights on"}), *sys.argv[1:])
        print("to standard error", file=sys.stderr)
        sys.exit(7)
        """,
}


@pytest.fixture
def program(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    return tmp_path


def launch(launcher, program, url, *command):
    words, more = LAUNCHERS[launcher]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "HEADWATER_", "PYTHON"))}
    environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"} | more
    environment |= {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    command = command or (sys.executable, "main.py", "--flag", "two words")
    return subprocess.run(
        [*words, *command], cwd=program, env=environment, input="from standard input\n", capture_output=True, text=True, timeout=60, check=False
    )


def values(span):
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_program_that_never_imports_headwater(launcher, program, collector):
    done = launch(launcher, program, collector.url)
    assert (done.stdout, done.returncode) == ("from standard input LIGHTS ON --flag two words\n", 7)
    assert [line for line in done.stderr.splitlines() if " not loaded because none is set by " not in line] == ["to standard error"]
    spans = {span.name: span for span in collector.spans}
    assert len(collector.spans) == len(spans) == 4
    assert set(spans) == {"voice", "asr", "intent", "words"}
    root = spans["voice"]
    assert root.parent_span_id == b""
    assert {spans[name].parent_span_id for name in ("asr", "intent", "words")} == {root.span_id}
    assert len({span.trace_id for span in collector.spans}) == 1
    asr = values(spans["asr"])
    assert len(asr.pop("headwater.stage.version")) == 12
    assert asr == {
        "headwater.stage.name": "asr",
        "headwater.model.name": "tiny",
        "headwater.model.version": "1.2.3",
        "headwater.confidence": 0.75,
        "headwater.own.oov": 0.5,
        "headwater.pipeline.name": "voice",
        "headwater.pipeline.version": "7",
        "headwater.run.id": "utterance-17",
        "code.function.name": "voice.asr.Recogniser.transcribe",
    }
    assert values(spans["words"])["headwater.items"] == 2


def test_the_service_is_named_by_option_or_script_or_module(program, collector):
    launch("headwater run, options", program, collector.url)
    assert collector.services == {"voice"}
    launch("headwater run", program, collector.url)
    assert collector.services == {"voice", "main"}
    (program / "other.py").write_text("import main\n")
    launch("headwater run", program, collector.url, sys.executable, "-m", "other")
    assert collector.services == {"voice", "main", "other"}


def test_a_provider_the_distribution_set_up_is_used(program, collector):
    launch("opentelemetry-instrument", program, collector.url)
    (block,) = [block for request in collector.requests for block in request.resource_spans]
    assert "telemetry.auto.version" in {item.key for item in block.resource.attributes}


def test_a_provider_of_the_programs_own_is_used_when_told_so(program, collector):
    (program / "main.py").write_text(
        "import os\nfrom opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor, ConsoleSpanExporter\nfrom voice.app import handle\n"
        "provider = TracerProvider()\nprovider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name + '\\n')))\n"
        "trace.set_tracer_provider(provider)\nhandle({'id': '1', 'audio': 'on'})\n"
    )
    done = launch("headwater run", program, collector.url, sys.executable, "main.py")
    assert "Overriding of current TracerProvider" in done.stderr  # this is why the option exists
    words, more = LAUNCHERS["headwater run"]
    LAUNCHERS["own"] = ([*words[:-1], "--own-provider"], more)
    try:
        done = launch("own", program, collector.url, sys.executable, "main.py")
    finally:
        del LAUNCHERS["own"]
    assert (done.stdout.split(), done.stderr) == (["asr", "intent", "words", "voice"], "")


def test_a_wrong_file_stops_headwater_run_and_only_warns_under_opentelemetry_instrument(program, collector):
    (program / "headwater.toml").write_text("[[instrument]]\nmatch = 'voice.app:handle'\nconfidense = 'c'\n")
    done = launch("headwater run", program, collector.url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown keyword 'confidense'" in done.stderr
    done = launch("opentelemetry-instrument", program, collector.url)
    assert done.returncode == 7
    assert "headwater: nothing is instrumented: " in done.stderr
    assert collector.spans == []


def test_children_are_traced_too_and_an_environment_of_the_users_stays(program, collector):
    (program / "elsewhere").mkdir()
    (program / "elsewhere" / "sitecustomize.py").write_text("import os\nos.environ['THEIRS'] = 'ran'\n")
    (program / "main.py").write_text(
        "import os, subprocess, sys\nassert os.environ['THEIRS'] == 'ran'\n"
        "subprocess.run([sys.executable, '-c', 'import sys; sys.path.insert(0, sys.argv[1]); from voice.app import handle; "
        "handle(dict(id=1, audio=\"on\"))', os.getcwd()], cwd='/', check=True)\n"
    )
    done = subprocess.run(
        [*LAUNCHERS["headwater run"][0], sys.executable, "main.py"],
        cwd=program,
        env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "PYTHONPATH": str(program / "elsewhere")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {span.name for span in collector.spans} == {"voice", "asr", "intent", "words"}


@pytest.mark.parametrize(("command", "code", "says"), [([], 2, "which program?"), (["no-such-program-here"], 127, "is not a command here")])
def test_what_cannot_be_run_is_said(command, code, says, tmp_path):
    done = subprocess.run([*LAUNCHERS["headwater run"][0], *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_without_a_file_it_says_so_and_runs(tmp_path):
    done = subprocess.run(
        [*LAUNCHERS["headwater run"][0], sys.executable, "-c", "print(1)"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "no headwater.toml here" in done.stderr


def test_headwater_run_needs_no_service_parts(program):
    """With the service's libraries blocked, the verb still becomes the program."""
    blocked = "sys.modules.update(dict.fromkeys(['typer', 'httpx', 'numpy', 'pydantic', 'duckdb', 'fastapi', 'rich']))"
    code = (
        f"import sys; {blocked}; sys.argv = ['headwater', 'run', '--', sys.executable, '-c', 'print(40 + 2)']; from headwater.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


def test_a_python_without_headwater_runs_the_program_and_says_that_it_is_not_traced(program):
    startup = Path(sys.modules["headwater"].__file__).parent / "instrument" / "startup"
    bare = subprocess.run(
        [sys.base_prefix + "/bin/python3", "-c", "print('ran')"],
        cwd="/",
        env={"PYTHONPATH": str(startup), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert bare.stdout == "ran\n"
    assert "headwater: not traced: " in bare.stderr


SKLEARN = """
    import pickle, sys

    with open("churn.pickle", "rb") as file:
        model = pickle.load(file)  # imports scikit-learn, and never headwater
    print(model.predict_proba([[0.0, 1.0], [9.0, 8.0]]).shape)
"""


def test_a_pickled_scikit_learn_pipeline_step_by_step(program, collector):
    table = [[float(row), float(row % 3)] for row in range(12)]
    with (program / "churn.pickle").open("wb") as file:
        pickle.dump(make_pipeline(StandardScaler(), MinMaxScaler(), LogisticRegression()).fit(table, [row > 5 for row in range(12)]), file)
    (program / "main.py").write_text(textwrap.dedent(SKLEARN))
    (program / "headwater.toml").write_text(
        "[[instrument]]\nmatch = 'sklearn.pipeline:Pipeline.predict_proba'\nstage = 'churn'\nsteps = 'headwater.instrument.adapters.sklearn:steps'\n"
    )
    for launcher in ("headwater run", "opentelemetry-instrument"):
        collector.requests.clear()
        done = launch(launcher, program, collector.url, sys.executable, "main.py")
        assert (done.stdout, done.stderr, done.returncode) == ("(2, 2)\n", "", 0)
        spans = {span.name: span for span in collector.spans}
        assert set(spans) == {"churn", "churn.standardscaler", "churn.minmaxscaler", "churn.logisticregression"}
        assert {span.parent_span_id for name, span in spans.items() if name != "churn"} == {spans["churn"].span_id}
        assert 0.5 < values(spans["churn.logisticregression"])["headwater.confidence"] <= 1.0


@pytest.mark.parametrize("entry", ["from headwater.cli import main; main()", "from headwater.cli.app import run; raise SystemExit(run())"])
def test_both_entries_hand_on_every_word_and_a_signal_is_the_programs_own(entry, program):
    command = [sys.executable, "-c", f"import sys; sys.argv[0] = 'headwater'; {entry}", "run", "--service", "x", "--", sys.executable, "-c"]
    shown = "import os, signal, sys; print(sys.argv[1:], os.environ['OTEL_SERVICE_NAME'], flush=True); os.kill(os.getpid(), signal.SIGTERM)"
    environment = os.environ | {"OTEL_TRACES_EXPORTER": "none"}
    done = subprocess.run([*command, shown, "--", "--help", "-x"], cwd=program, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("['--', '--help', '-x'] x\n", -signal.SIGTERM), done.stderr
