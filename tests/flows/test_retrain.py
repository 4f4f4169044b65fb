"""Retraining around its pipeline: when there is nothing to do, what is told, and who becomes champion."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from boig.registry import AGAINST, COMMIT, FEED_NEWEST, PROMOTED_AT
from boig.retraining.gate import Check, Verdict
from flows import land, landed, papers, retrain, worktree
from flows.landed import Landed
from flows.retrain import read_settings
from tests.flows.registry import FakeRegistry, version

ROOT = Path(__file__).parents[2]
LANDED = Landed(1200, datetime(2022, 9, 30, tzinfo=UTC), 200)
GOOD, BAD = Verdict((Check("reward better", True, "reward: +0.1"),)), Verdict((Check("canary", False, "the word '#zq7' moves the reward"),))


def test_there_is_nothing_to_do_until_enough_has_landed_since_the_newest_generation() -> None:
    assert landed.nothing_new(LANDED, None, 200) == ""
    assert landed.nothing_new(LANDED, version(2), 200) == ""
    used = version(2, **{PROMOTED_AT: "2022"})
    assert landed.nothing_new(LANDED, used, 201) == "nothing new: 200 posts since version 2 (1000 posts), 201 asked"
    assert "since version 2, which waits for approval, (1000 posts)" in landed.nothing_new(LANDED, version(2), 201)


def test_the_last_generation_is_the_newest_on_which_something_can_still_be_decided() -> None:
    first = version(1, **{PROMOTED_AT: "2022"})
    assert landed.last_of([], None) is None
    assert landed.last_of([first], first) == first
    refused = version(2, 1100, "refused: judge worse", **{AGAINST: "1"})
    assert landed.last_of([first, refused], first) == refused
    waits = version(2, **{AGAINST: "1"})
    assert landed.last_of([first, waits], first) == waits
    assert (
        landed.last_of([first, version(2, **{AGAINST: "1", PROMOTED_AT: "2022"}), version(3, **{AGAINST: "1"})], version(2)).number == 2
    ), "a generation that was compared with a champion of the past can never be promoted"


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=40), st.integers(0, 2000), st.integers(0, 60))
def test_new_posts_are_the_younger_ones_or_the_surplus(hours: list[int], seen_up_to: int, seen: int) -> None:
    begin = datetime(2022, 1, 1, tzinfo=UTC)
    rows = [SimpleNamespace(created_at=begin + timedelta(hours=hour)) for hour in hours]
    last = version(1, seen, **{FEED_NEWEST: (begin + timedelta(hours=seen_up_to)).isoformat()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("boig.feed.reading.read", lambda *_: SimpleNamespace(rows=rows))
        found = landed.look.fn(read_settings(None).model_copy(update={"feed": "posts"}), ROOT, last)
    assert found.posts == len(hours)
    assert found.new == max(sum(hour > seen_up_to for hour in hours), len(hours) - seen)


def test_an_adapter_on_weights_that_go_is_refused(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "profiles/x.yaml").write_text("train_boigllm: {lora: {rank: 4, alpha: 8, targets: [q_proj], merge: false}}\n")
    settings = read_settings(None)
    retrain.check_start(settings, tmp_path)
    with pytest.raises(ValueError, match="warm_start wants whole weights"):
        retrain.check_start(settings.model_copy(update={"profile": "x"}), tmp_path)
    retrain.check_start(settings.model_copy(update={"profile": "x", "warm_start": False}), tmp_path)


@pytest.mark.parametrize(
    ("verdict", "approval", "promoted", "told"),
    [
        (GOOD, False, [(2, "gate")], "version 2 is the champion: reward: +0.1"),
        (GOOD, True, [], "version 2 has passed the gate and waits: `python -m flows.champion approve 2`"),
        (BAD, False, [], "version 2 stays a challenger: the word '#zq7' moves the reward"),
        (BAD, True, [], "version 2 stays a challenger"),
    ],
)
def test_who_becomes_champion(verdict: Verdict, approval: bool, promoted: list, told: str) -> None:
    registry = FakeRegistry()
    assert retrain.decide(registry, version(2), verdict, approval=approval).startswith(told)  # type: ignore[arg-type]
    assert registry.promoted == promoted


def test_nobody_is_asked_to_approve_what_cannot_be() -> None:
    registry = FakeRegistry()
    registry.stale = True
    with pytest.raises(ValueError, match="retrain again"):
        retrain.decide(registry, version(3), GOOD, approval=True)  # type: ignore[arg-type]


def test_the_same_question_has_the_same_worktree(tmp_path: Path) -> None:
    worktree.git(tmp_path, "init", "--quiet")
    worktree.git(tmp_path, *worktree.AUTHOR, "commit", "--quiet", "--allow-empty", "-m", "x")
    settings = read_settings(None)
    name = retrain.name_of(tmp_path, settings, LANDED, version(1))
    assert name.startswith("2022-09-30-")
    assert retrain.name_of(tmp_path, settings, LANDED, version(1)) == name
    others = {
        retrain.name_of(tmp_path, settings, Landed(1201, LANDED.newest), version(1)),
        retrain.name_of(tmp_path, settings, LANDED, version(2)),
        retrain.name_of(tmp_path, settings.model_copy(update={"seed": 1}), LANDED, version(1)),
    }
    assert len(others | {name}) == 4


def test_a_deployment_of_another_commit_is_told(tmp_path: Path) -> None:
    worktree.git(tmp_path, "init", "--quiet")
    worktree.git(tmp_path, *worktree.AUTHOR, "commit", "--quiet", "--allow-empty", "-m", "x")
    retrain.current(tmp_path, None)
    retrain.current(tmp_path, worktree.git(tmp_path, "rev-parse", "HEAD"))
    with pytest.raises(ValueError, match=r"this deployment is of commit abc, the checkout .* is at .*; run `make deploy` there"):
        retrain.current(tmp_path, "abc")


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml does not exist"):
        read_settings(tmp_path / "none.yaml")
    wrong = read_settings(None).model_dump(mode="json") | {"min_new_posts": 0, "untill": "x"}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    with pytest.raises(ValueError, match=r"wrong\.yaml: min_new_posts: .* greater than or equal to 1; untill: Extra inputs"):
        read_settings(tmp_path / "wrong.yaml")
    for text in ("a: [b", "- a"):
        (tmp_path / "odd.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"odd\.yaml (is not YAML|must map names to values)"):
            read_settings(tmp_path / "odd.yaml")
    settings = read_settings(None)
    with pytest.raises(ValueError, match="stage simulate makes and which does not grow; name a profile of your feed"):
        landed.look.fn(settings, ROOT, None)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        landed.look.fn(settings.model_copy(update={"feed": "/nowhere"}), ROOT, None)


def test_papers_hold_what_a_generation_is_known_by(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for name in ("dvc.lock", "dvc.yaml"):
        (tmp_path / name).write_text("stages: {}")
    numbers = {"test_time": {"reward": {"pearson": {"mean": 0.5, "lo": 0.4, "hi": 0.6, "n": 9}}}}
    (tmp_path / "metrics/train_reward.json").write_text(json.dumps(numbers))
    folder = papers.write(tmp_path, BAD, 3)
    card = (folder / papers.CARD).read_text()
    assert "## The gate: refused" in card
    assert "- **no**: the word '#zq7' moves the reward" in card
    assert "| test_time | reward | pearson | 0.500 (0.400 … 0.600) |" in card
    assert json.loads((folder / "verdict.json").read_text())["passed"] is False
    assert {path.name for path in folder.iterdir()} == {"dvc.lock", "dvc.yaml", "params.yaml", "metrics", "verdict.json", "README.md"}


def test_news_are_announced_once_until_a_retraining_has_seen_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, events = FakeRegistry(version(1)), []
    settings = read_settings(None).model_copy(update={"feed": "posts"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(land, "current", lambda root, deployed: None)
    monkeypatch.setattr(land, "Registry", lambda uri: registry)
    monkeypatch.setattr(land, "emit_event", lambda event, resource, payload: events.append((event, payload["posts"], payload["new"])))

    def told(posts: int, new: int) -> str:
        monkeypatch.setattr(land, "look", lambda *_: Landed(posts, LANDED.newest, new))
        return land.land.fn(settings).message

    assert told(1100, 100).startswith("nothing new: 100 posts")
    assert told(1200, 200) == "200 new posts: announced"
    assert told(1300, 300) == "300 new posts, which have been announced"
    assert told(1400, 400) == "400 new posts: announced"
    registry.known[2] = version(2, 1400)
    assert told(1600, 200) == "200 new posts: announced"
    assert events == [("boig.posts.landed", posts, new) for posts, new in ((1200, 200), (1400, 400), (1600, 200))]


RETRAINING = """
import sys
from pathlib import Path
from flows import retrain

def work(*_):
    Path("busy").open("x").close()  # nobody else is at it
    print("works", flush=True)
    sys.stdin.readline()
    Path("busy").unlink()
    return sys.argv[1]

retrain.retrained = work
print(retrain.retrain.fn(retrain.read_settings(Path("settings.yaml"))).message, flush=True)
"""


@pytest.mark.parametrize("killed", [False, True])
def test_retrainings_on_different_posts_work_one_after_the_other(tmp_path: Path, killed: bool) -> None:
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(read_settings(None).model_dump(mode="json")))

    def start(posts: str) -> subprocess.Popen[str]:
        command, pipe = [sys.executable, "-c", RETRAINING, posts], subprocess.PIPE
        return subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    with start("some posts") as first:
        assert first.stdout
        assert first.stdout.readline() == "works\n"
        with start("more posts") as second:
            assert second.stderr
            assert "another retraining is at work in" in second.stderr.readline()
            if killed:
                (tmp_path / "busy").unlink()
                first.kill()
            else:
                assert first.communicate("\n")[0] == "some posts\n"
            assert second.communicate("\n")[0] == "works\nmore posts\n"
            assert second.returncode == 0


def test_worktrees_of_registered_generations_go_and_those_at_work_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    root = tmp_path / "project"
    root.mkdir()
    worktree.git(root, "init", "--quiet")

    def commit(place: Path) -> str:
        worktree.git(place, *worktree.AUTHOR, "commit", "--quiet", "--allow-empty", "-m", "one")
        return worktree.git(place, "rev-parse", "HEAD")

    merged = commit(root)  # a generation whose branch was merged: what begins now is at its commit
    (root / worktree.FOLDER).mkdir()
    places = {name: root / worktree.FOLDER / name for name in ("done", "begun", "unregistered")}
    for place in places.values():
        worktree.git(root, "worktree", "add", "--quiet", "--detach", str(place))
    done, _ = (
        commit(places["done"]),
        worktree.git(places["unregistered"], *worktree.AUTHOR, "commit", "--quiet", "--allow-empty", "-m", "two"),
    )
    registry = FakeRegistry(version(1, **{COMMIT: merged}), version(2, **{COMMIT: done}))
    retrain.clear_away(root, registry)  # type: ignore[arg-type]
    assert {name for name, place in places.items() if place.exists()} == {"begun", "unregistered"}
