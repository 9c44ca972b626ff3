"""What is swallowed is counted; what is swallowed in production is raised under pytest."""

import pytest
from tests.instrument.recording import swallowing

from headwater.instrument import isolate

__all__ = ["swallowing"]


@pytest.mark.parametrize(("asked", "expected"), [("0", False), ("1", True), ("no", False), ("true", True)])
def test_the_environment_decides_unless_told(monkeypatch, asked, expected):
    monkeypatch.setenv("HEADWATER_RERAISE", asked)
    assert isolate.reraising() is expected
    isolate.set_reraise(not expected)
    try:
        assert isolate.reraising() is not expected
    finally:
        isolate.set_reraise(None)
    monkeypatch.delenv("HEADWATER_RERAISE")
    assert isolate.reraising() is True
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert isolate.reraising() is False


def test_a_block_is_counted_and_logged_once(swallowing, caplog):
    for _ in range(3):
        with isolate.isolated("reason"):
            raise ValueError("text")
    assert isolate.counts() == {"reason": 3}
    assert [record.getMessage() for record in caplog.records] == ["reason: ValueError: text (further ones are counted, not logged)"]


def test_interrupts_pass(swallowing):
    with pytest.raises(KeyboardInterrupt), isolate.isolated("reason"):
        raise KeyboardInterrupt
    assert isolate.counts() == {}


def test_an_error_without_a_text_is_described_by_its_class(swallowing):
    class DumbError(Exception):
        def __str__(self):
            raise RuntimeError

    with isolate.isolated("reason"):
        raise DumbError
    assert isolate.describe(DumbError()) == "DumbError: <str() raised>"
