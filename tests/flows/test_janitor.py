"""The janitor: what it clears away, and what it leaves."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from prefect import flow, get_client
from prefect.states import Pending
from prefect.testing.utilities import prefect_test_harness

from flows import ingest, janitor, worktree


def test_old_worktrees_go_and_those_at_work_stay(tmp_path: Path) -> None:
    worktree.git(tmp_path, "init", "--quiet")
    (tmp_path / ".dvc").mkdir()
    worktree.git(tmp_path, *worktree.AUTHOR, "commit", "--quiet", "--allow-empty", "-m", "x")
    for name in ("old", "new"):
        worktree.git(tmp_path, "worktree", "add", "--force", "-B", f"retrain/{name}", str(tmp_path / ".retrain" / name), "HEAD")
    for path in [tmp_path / ".retrain/old", *(tmp_path / ".retrain/old").rglob("*")]:
        os.utime(path, (0, 0))
    with worktree.opened(tmp_path, "busy") as busy:
        for path in [busy, *busy.rglob("*")]:
            os.utime(path, (0, 0))
        assert janitor.clear(tmp_path, timedelta(days=7)) == 1
        assert busy.is_dir()
    assert not (tmp_path / ".retrain/old").exists()
    assert (tmp_path / ".retrain/new").is_dir()
    assert "retrain/old" in worktree.git(tmp_path, "branch"), "what was committed there is kept"
    assert janitor.clear(tmp_path / "nowhere", timedelta(0)) == 0


def test_news_are_told_once_and_only_when_there_are_enough(tmp_path: Path, monkeypatch) -> None:
    told: list[dict] = []
    monkeypatch.setattr(ingest, "emit_event", lambda event, resource, payload: told.append({"event": event, **payload}) or object())
    monkeypatch.chdir(tmp_path)
    assert not ingest.announce(1000, 200, "feed"), "the first time there is nothing to compare with"
    assert not ingest.announce(1199, 200, "feed")
    assert ingest.announce(1200, 200, "feed")
    assert not ingest.announce(1200, 200, "feed")
    assert ingest.announce(1500, 200, "feed")
    assert told == [{"event": "boig.posts.landed", "posts": p, "new": n} for p, n in ((1200, 200), (1500, 300))]


@flow
def never_started() -> None:
    """What a worker should have taken up."""


@pytest.mark.slow
def test_a_run_that_no_process_took_up_is_ended_with_the_mend(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with prefect_test_harness(server_startup_timeout=300), get_client(sync_client=True) as client:
        stuck = client.create_flow_run(never_started, state=Pending())
        assert janitor.janitor(60, 7, return_state=True).message == "runs that never started: 0; worktrees: 0"
        assert client.read_flow_run(stuck.id).state_type == "PENDING"
        assert janitor.janitor(0, 7, return_state=True).message == "runs that never started: 1; worktrees: 0"
        state = client.read_flow_run(stuck.id).state
        assert state is not None
        assert state.is_crashed()
        assert state.message == "no process took it up within 0:00:00; is a worker running? `make doctor`"
