"""scripts/e2e-tools.sh and the way tests find the binaries: clear words, the cache outside the checkout, and no silent skip in CI."""

import subprocess
from pathlib import Path

import pytest
from e2e_processes import ROOT, find_binaries

SCRIPT = ROOT / "scripts" / "e2e-tools.sh"


def _run(*arguments: str, cache: Path | str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    environment = {"HEADWATER_E2E_CACHE": str(cache), "PATH": path, "HOME": "/nonexistent"}
    return subprocess.run(["/bin/bash", SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False)


def _tools_without_go(directory: Path) -> str:
    """A PATH that has what the script needs, and no Go."""
    bin_directory = directory / "bin"
    bin_directory.mkdir()
    for tool in ("dirname", "sha256sum", "cut", "mkdir", "flock", "grep", "sort", "head", "sed", "rm", "chmod"):
        (bin_directory / tool).symlink_to(next(place / tool for place in (Path("/usr/bin"), Path("/bin")) if (place / tool).exists()))
    return str(bin_directory)


def test_without_go_it_says_so_and_what_to_do(tmp_path: Path) -> None:
    done = _run(cache=tmp_path / "cache", path=_tools_without_go(tmp_path))
    assert done.returncode == 3
    assert done.stdout == ""
    assert "Go is not installed" in done.stderr
    assert "make e2e-tools" in done.stderr


@pytest.mark.parametrize("cache", [ROOT / ".cache", "relative/cache"])
def test_the_cache_lies_outside_the_checkout(cache: Path | str) -> None:
    done = _run(cache=cache)
    assert done.returncode == 2
    assert "HEADWATER_E2E_CACHE" in done.stderr
    assert not Path(cache).exists()


def test_asking_for_the_paths_builds_nothing(tmp_path: Path) -> None:
    done = _run("--paths", cache=tmp_path / "a b")
    assert done.returncode == 4
    assert "make e2e-tools" in done.stderr
    assert not (tmp_path / "a b").exists()


def test_a_binary_of_another_version_is_not_taken(tmp_path: Path) -> None:
    builder = ROOT / "collector-config" / "builder.yaml"
    digest = subprocess.run(["sha256sum", builder], capture_output=True, text=True, check=True).stdout[:12]
    for name, says in ((f"otelcol-0.155.0-{digest}", "headwater-otelcol version 0.154.0"), ("jaeger-1.76.0", '{"gitVersion":"v1.75.0"}')):
        made = tmp_path / name
        made.write_text(f"#!/bin/sh\necho '{says}'\n")
        made.chmod(0o755)
    assert _run("--paths", cache=tmp_path).returncode == 4
    (tmp_path / "jaeger-1.76.0").write_text('#!/bin/sh\necho \'{"gitCommit":"","gitVersion":"v1.76.0","buildDate":""}\'\n')
    (tmp_path / f"otelcol-0.155.0-{digest}").write_text("#!/bin/sh\necho 'headwater-otelcol version 0.155.0'\n")
    done = _run("--paths", cache=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"HEADWATER_OTELCOL={tmp_path}/otelcol-0.155.0-{digest}", f"HEADWATER_JAEGER={tmp_path}/jaeger-1.76.0"]


def test_missing_binaries_skip_with_the_reason_and_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_OTELCOL", "/nonexistent/otelcol")
    monkeypatch.setenv("HEADWATER_JAEGER", "/nonexistent/jaeger")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="/nonexistent/otelcol"):
        find_binaries()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI is set"):
        find_binaries()
