"""Where a person approves: no generation comes into use by itself, the first one neither, and none is made twice while one waits."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from boig import tracking
from boig.registry import FEED_POSTS, LINE, Registry
from boig.retraining.gate import Check, Verdict
from boig.retraining.line import PATCH, Guarded, Line, Moved
from flows import champion, retrain
from flows.landed import Landed
from flows.retrain import read_settings

SETTINGS = read_settings(None).model_copy(update={"min_new_posts": 200})


@pytest.fixture
def registry(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An empty one."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'own.db'}")
    return Registry(tracking.uri())


@pytest.fixture
def once(registry: Registry, place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, bool], str]:
    """One retraining on so many posts, with or without approval; its pipeline, its worktree and Git stand in."""
    (place / "card").mkdir()
    (place / "card/README.md").write_text("# a generation")
    (place / "dvc.lock").write_text("{}")
    monkeypatch.setattr(retrain, "clear_away", lambda *_: None)
    monkeypatch.setattr(retrain.worktree, "opened", lambda *_: nullcontext(place))
    monkeypatch.setattr(retrain, "name_of", lambda *_: "one")
    monkeypatch.setattr(retrain, "recorded", lambda settings: nullcontext(tracking.start(tracking.uri(), "retraining", {})))
    monkeypatch.setattr(retrain.papers, "write", lambda *_: place / "card")
    for name in ("prepare", "make"):
        monkeypatch.setattr(retrain, name, lambda *_: None)
    for name in ("compare", "register"):
        monkeypatch.setattr(retrain, name, getattr(retrain, name).fn)

    def run(posts: int, approval: bool) -> str:
        newest = datetime(2022, 9, 1, tzinfo=UTC)
        monkeypatch.setattr(retrain, "look", lambda _, __, last: Landed(posts, newest, posts - int(last.tags[FEED_POSTS] if last else 0)))
        monkeypatch.setattr(retrain, "keep", lambda *_: f"commit of {posts}")
        return retrain.retrained(SETTINGS.model_copy(update={"approval": approval}), place)

    return run


def used(registry: Registry) -> int:
    found = registry.champion()
    return found.number if found else 0


def test_the_first_generation_waits_too_and_is_not_made_again(registry: Registry, once) -> None:
    waits = "version 1 has passed the gate and waits: `python -m flows.champion approve 1` (a first generation: there is no champion"
    assert once(400, True).startswith(waits)
    assert used(registry) == 0
    assert once(400, True).startswith("nothing new: 0 posts since version 1, which waits for approval,")
    assert used(registry) == 0
    assert champion.approved(registry, 1, "ann") == "version 1 is the champion, approved by ann"
    assert used(registry) == 1


def test_without_approval_the_first_generation_is_the_champion_as_it_comes(registry: Registry, once) -> None:
    assert once(400, False).startswith("version 1 is the champion: a first generation")
    assert used(registry) == 1


def test_while_the_first_one_waits_the_next_is_a_first_one_again(registry: Registry, once) -> None:
    once(400, True)
    assert "version 2 has passed the gate and waits" in (said := once(650, True))
    assert "a first generation" in said
    champion.approved(registry, 1, "ann")
    with pytest.raises(ValueError, match="version 2 was compared with champion none, but version 1 is in use; retrain again"):
        champion.approved(registry, 2, "ann")
    assert once(550, True).startswith("nothing new: 150 posts since version 1 "), "what version 2 has seen counts as new again"


def test_what_waited_is_promoted_once_no_approval_is_asked_for(registry: Registry, once) -> None:
    once(400, True)
    assert once(400, False).startswith("nothing new: 0 posts since version 1 ")
    assert used(registry) == 1


def test_the_gate_gets_the_line_of_the_champion_in_use_and_the_next_version_carries_it_on(
    registry: Registry, once, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Line] = []

    def compare(_, __, ___, line: Line) -> Verdict:
        seen.append(line)
        line = line.with_champion(Guarded(20.0 - len(seen), 0.1, 0.0))
        tried = (Moved(PATCH, "judge", line.first(PATCH, "judge", float(len(seen))), 3.0),)
        return Verdict((Check("reward better", True, "better"),), line.onward(tried, SETTINGS.guards))

    monkeypatch.setattr("tasks.retrain.compare", compare)
    for posts in (400, 600, 800):
        once(posts, False)
    registry.rollback()
    once(1200, False)
    carried = Line(Guarded(19.0, 0.1, 0.0), {PATCH: {"judge": 1.0}})
    assert seen == [Line(), carried, carried], "the first one's again after the third is rolled back"
    assert [Line.read(version.tags[LINE]) for version in registry.versions()] == [Line(), *[carried] * 3]
