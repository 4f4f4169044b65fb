"""The door to Ray, where it does not open."""

import pytest
import ray

from boig import cluster


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)


def starting(monkeypatch: pytest.MonkeyPatch, *errors: str) -> list[str]:
    """Have Ray fail to start with these errors, one after the other, and then start; what is left of them."""
    left = list(errors)

    def init(**_: object) -> None:
        if left:
            raise Exception(left.pop(0))

    monkeypatch.setattr(ray, "init", init)
    return left


SLOW = "The current node timed out during startup. This could happen because"


def test_a_slow_start_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    left = starting(monkeypatch, *[SLOW] * (cluster.STARTS - 1))
    cluster.connect()
    assert not left


def test_a_machine_that_is_too_busy_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    left = starting(monkeypatch, *[SLOW] * 9)
    with pytest.raises(ConnectionError, match=r"5 tries of half a minute; end what keeps it busy") as raised:
        cluster.connect()
    assert "\n" not in str(raised.value)
    assert len(left) == 9 - cluster.STARTS


def test_another_error_is_itself_and_at_once(monkeypatch: pytest.MonkeyPatch):
    left = starting(monkeypatch, "no space left", SLOW)
    with pytest.raises(Exception, match="no space left"):
        cluster.connect()
    assert left == [SLOW]
