"""The pytest plugin, in processes of its own: a run of pytest inside this one would share its provider."""

import os
import subprocess
import sys
import textwrap

import pytest

PLUGIN = ("-p", "headwater.instrument.testing", "-p", "no:cacheprovider")
ENVIRONMENT = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # ours alone, by name, whether or not its entry point is installed
HEAD = "import pytest\nimport headwater as hw\n\n@hw.stage('asr', confidence=lambda r: r)\ndef asr(value):\n    return value\n\n"


@pytest.fixture
def suite(tmp_path):
    """Runs pytest over a file with this body; gives (exit status, what it printed)."""

    def run(body):
        (tmp_path / "test_it.py").write_text(HEAD + textwrap.dedent(body))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "--strict-markers",
            "--rootdir",
            str(tmp_path),
            *PLUGIN,
            "test_it.py",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60, env=ENVIRONMENT)
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_fixture_sees_the_stages_of_its_test_alone(suite):
    status, told = suite("""
        def test_one(headwater_traces):
            asr(0.5), asr(0.7)
            assert headwater_traces.stages == ["asr"]
            assert (headwater_traces.calls("asr"), headwater_traces.errors("asr")) == (2, 0)
            assert headwater_traces.mean_confidence("asr") == pytest.approx(0.6)
            assert 0 < headwater_traces.p95_s("asr") < 1

        def test_two(headwater_traces):
            assert headwater_traces.spans == []
            assert headwater_traces.p95_s("asr") != headwater_traces.p95_s("asr")
        """)
    assert status == 0, told
    assert "2 passed" in told


def test_the_programs_own_provider_is_used_and_stays(suite):
    status, told = suite("""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        OWN = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(OWN)

        @pytest.mark.headwater(max_errors=0)
        def test_both(headwater_traces):
            asr(0.5)
            assert headwater_traces.calls("asr") == 1
            assert trace.get_tracer_provider() is OWN
        """)
    assert status == 0, told


def test_limits_that_hold_pass_and_those_that_do_not_fail_with_a_table(suite):
    status, told = suite("""
        import time

        @hw.stage("slow")
        def slow():
            time.sleep(0.02)

        @pytest.mark.headwater(max_p95=5.0, max_errors=0, min_confidence={"asr": 0.4})
        def test_fine():
            asr(0.5)

        @pytest.mark.headwater(max_p95={"slow": 0.01, "asr": 5.0})
        def test_late():
            slow()
            asr(0.5)

        @pytest.mark.headwater(min_confidence={"asr": 0.9})
        def test_unsure():
            asr(0.5)

        @pytest.mark.headwater(max_p95={"never": 1.0})
        def test_never_called():
            asr(0.5)
        """)
    assert status == 1, told
    assert "3 failed, 1 passed" in told
    rows = [line.split() for line in told.splitlines()]
    assert ["stage", "calls", "limit", "found", "allowed"] in rows
    assert {(*row[:3], *row[4:]) for row in rows if row[:3] == ["slow", "1", "max_p95"]} == {("slow", "1", "max_p95", "0.01")}  # twice in CI
    assert ["asr", "1", "min_confidence", "0.5", "0.9"] in rows
    assert ["never", "0", "max_p95", "nan", "1"] in rows
    assert not [row for row in rows if row[:3] == ["asr", "1", "max_p95"]]


def test_errors_are_counted_and_a_failing_test_keeps_its_own_error(suite):
    status, told = suite("""
        @hw.stage("bad")
        def bad():
            raise ValueError("mine")

        @pytest.mark.headwater(max_errors=0)
        def test_swallowed():
            with pytest.raises(ValueError):
                bad()

        @pytest.mark.headwater(max_errors=0)
        def test_own():
            bad()
        """)
    assert status == 1
    assert ["bad", "1", "max_errors", "1", "0"] in [line.split() for line in told.splitlines()]
    assert "ValueError: mine" in told


def test_an_unknown_limit_is_named(suite):
    status, told = suite("""
        @pytest.mark.headwater(max_p99=1.0)
        def test_it():
            pass
        """)
    assert status != 0
    assert "unknown ['max_p99']; allowed: the keywords max_p95, max_errors, min_confidence" in told


def test_unused_it_loads_neither_sdk_nor_numpy_and_leaves_the_provider_alone(suite):
    status, told = suite("""
        import sys
        from opentelemetry import trace

        def test_it():
            assert [name for name in ("opentelemetry.sdk", "numpy", "headwater.model") if name in sys.modules] == []
            assert trace._TRACER_PROVIDER is None
        """)
    assert status == 0, told
