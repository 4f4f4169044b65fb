"""The janitor: what it clears away, and what it leaves."""

import os
from datetime import timedelta
from pathlib import Path

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
