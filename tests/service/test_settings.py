from pathlib import Path

import pytest

from headwater.model.errors import UsageError
from headwater.service.settings import load_settings


@pytest.fixture(autouse=True)
def empty_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("STORE", "URL", "HOST", "HTTP_PORT", "CONFIG", "ALLOW_OPEN_BIND"):
        monkeypatch.delenv(f"HEADWATER_{name}", raising=False)


def test_flag_beats_environment_beats_file_beats_default(monkeypatch):
    assert load_settings().http_port == 8417
    Path("headwater.toml").write_text("[service]\nhttp-port = 1001\nhost = 'localhost'\n")
    assert load_settings().http_port == 1001
    monkeypatch.setenv("HEADWATER_HTTP_PORT", "1002")
    assert load_settings().http_port == 1002
    assert load_settings(http_port=1003).http_port == 1003
    assert load_settings(http_port=None).http_port == 1002
    assert load_settings().host == "localhost"


def test_pyproject_serves_where_there_is_no_file_of_our_own():
    Path("pyproject.toml").write_text("[tool.headwater.service]\nhttp_port = 1004\n")
    assert load_settings().http_port == 1004


def test_a_wrong_value_names_the_setting_and_the_flag():
    with pytest.raises(UsageError, match=r"http_port = 99999.*--http-port"):
        load_settings(http_port=99999)


def test_a_broken_file_is_named(monkeypatch):
    Path("headwater.toml").write_text("[service\n")
    with pytest.raises(UsageError, match=r"headwater\.toml is not valid TOML"):
        load_settings()
    monkeypatch.setenv("HEADWATER_CONFIG", "missing.toml")
    with pytest.raises(UsageError, match=r"missing\.toml"):
        load_settings()


def test_an_open_bind_is_refused_unless_allowed():
    assert load_settings().checked_bind() == "127.0.0.1"
    with pytest.raises(UsageError, match="reachable from other machines"):
        load_settings(host="0.0.0.0").checked_bind()
    assert load_settings(host="0.0.0.0", allow_open_bind=True).checked_bind() == "0.0.0.0"
