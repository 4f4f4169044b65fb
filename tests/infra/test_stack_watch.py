"""A part that lives but does not answer: SeaweedFS under supervisord and its listener, without the rest of the stack."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack import keys, services, settings, supervisor, watch
from infra.stack.settings import Stack
from tests.infra.stack import BACK_S, comes_back, run, write_settings


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack of which only `s3` runs."""
    path = write_settings(tmp_path)
    monkeypatch.setenv(settings.SETTING, str(path))
    stack = settings.load(path)
    made = keys.ensure(stack.folder)
    services.prepare(stack, made)
    try:
        assert supervisor.start(stack, {"s3": services.services(stack, made)["s3"]})
        comes_back(stack, "s3", before=0)
        yield stack
    finally:
        run(path, "down")


@pytest.mark.slow
def test_it_is_ended_and_started_anew(stack: Stack) -> None:
    stopped = supervisor.states(stack)["s3"]["pid"]
    end = time.monotonic() + BACK_S
    while f"s3 answers, pid {stopped}" not in (stack.logs / "watch.log").read_text():
        assert time.monotonic() < end
        time.sleep(0.5)
    os.kill(stopped, signal.SIGSTOP)
    comes_back(stack, "s3", before=stopped, within_s=2 * BACK_S)  # a minute of them it is watched
    assert "s3 has not answered" in (stack.logs / "watch.log").read_text()


def test_a_part_is_hung_only_if_it_has_answered_before_and_what_it_needs_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {name: services.Service(name, (), name, needs=needs) for name, needs in (("prefect", ()), ("worker", ("prefect",)))}
    answering = set()
    monkeypatch.setattr(watch.supervisor.health, "answers", lambda address, timeout_s: address in answering)
    states = {name: {"statename": "RUNNING", "pid": number} for number, name in enumerate(parts, 1)}
    one = watch.Watch()

    def hung(now: set[str], looks: int = watch.LOOKS) -> list[str]:
        answering.clear()
        answering.update(now)
        return [name for _ in range(looks) for name in one.hung(parts, states)]

    assert hung(set()) == []  # they start
    assert hung({"prefect", "worker"}) == []
    assert hung(set()) == ["prefect"]  # the worker waits for it
    states["prefect"]["pid"] = 7
    assert hung({"prefect"}, watch.LOOKS - 1) == []
    assert hung({"prefect"}, 1) == ["worker"]
    states["worker"]["statename"] = "STOPPED"
    states["worker"]["pid"] = 0
    assert hung({"prefect"}) == []
