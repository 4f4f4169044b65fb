"""Retraining around its pipeline: when there is nothing to do, what is told, and who becomes champion."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from boig.registry import FEED_POSTS, GATE, Version
from boig.retraining.gate import Check, Verdict
from flows import champion, papers, retrain, worktree
from flows.retrain import Landed, read_settings

ROOT = Path(__file__).parents[2]
LANDED = Landed(1200, datetime(2022, 9, 30, tzinfo=UTC))
GOOD, BAD = Verdict((Check("reward better", True, "reward: +0.1"),)), Verdict((Check("canary", False, "the word '#zq7' moves the reward"),))


def version(number: int, posts: int = 1000, gate: str = "passed: reward: +0.1") -> Version:
    return Version(number, "run", {FEED_POSTS: str(posts), GATE: gate})


class FakeRegistry:
    """Remembers who was promoted."""

    def __init__(self, *versions: Version):
        self.known, self.promoted = {v.number: v for v in versions}, []

    def version(self, number: int) -> Version:
        return self.known[number]

    def promote(self, version: Version, by: str) -> None:
        self.promoted.append((version.number, by))


def test_there_is_nothing_to_do_until_enough_has_landed_since_the_newest_generation() -> None:
    assert retrain.nothing_new(LANDED, [], 200) == ""
    assert retrain.nothing_new(LANDED, [version(1, 500), version(2, 1000)], 200) == ""
    refused = [version(1, 500), version(2, 1100, "refused: judge worse")]
    assert retrain.nothing_new(LANDED, refused, 200) == "nothing new: 100 posts since version 2 (1100 posts), 200 asked"


@pytest.mark.parametrize(
    ("verdict", "approval", "before", "promoted", "told"),
    [
        (GOOD, False, version(1), [(2, "gate")], "version 2 is the champion: reward: +0.1"),
        (GOOD, True, version(1), [], "version 2 has passed the gate and waits: `python -m flows.champion approve 2`"),
        (GOOD, True, None, [(2, "gate")], "version 2 is the champion"),
        (BAD, False, version(1), [], "version 2 stays a challenger: the word '#zq7' moves the reward"),
        (BAD, True, version(1), [], "version 2 stays a challenger"),
    ],
)
def test_who_becomes_champion(verdict: Verdict, approval: bool, before: Version | None, promoted: list, told: str) -> None:
    registry = FakeRegistry()
    assert retrain.decide(registry, version(2), before, verdict, approval=approval).startswith(told)  # type: ignore[arg-type]
    assert registry.promoted == promoted


def test_only_what_has_passed_can_be_approved() -> None:
    registry = FakeRegistry(version(2), version(3, gate="refused: canary"))
    assert champion.approved(registry, 2, "ann") == "version 2 is the champion, approved by ann"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"version 3 has not passed the gate \(refused: canary\)"):
        champion.approved(registry, 3, "ann")  # type: ignore[arg-type]
    assert registry.promoted == [(2, "ann")]


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
    settings = read_settings(None)
    with pytest.raises(ValueError, match="stage simulate makes and which does not grow; name a feed"):
        retrain.look.fn(settings, ROOT)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        retrain.look.fn(settings.model_copy(update={"feed": "/nowhere"}), ROOT)


def test_papers_hold_what_a_generation_is_known_by(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "dvc.lock").write_text("stages: {}")
    numbers = {"test_time": {"reward": {"pearson": {"mean": 0.5, "lo": 0.4, "hi": 0.6, "n": 9}}}}
    (tmp_path / "metrics/train_reward.json").write_text(json.dumps(numbers))
    folder = papers.write(tmp_path, BAD, 3)
    card = (folder / papers.CARD).read_text()
    assert "## The gate: refused" in card
    assert "- **no**: the word '#zq7' moves the reward" in card
    assert "| test_time | reward | pearson | 0.500 (0.400 … 0.600) |" in card
    assert json.loads((folder / "verdict.json").read_text())["passed"] is False
    assert {path.name for path in folder.iterdir()} == {"dvc.lock", "params.yaml", "metrics", "verdict.json", "README.md"}
