"""The simulated year: its months, what is asked in each, what is kept, and the chart. Retrainings stand in; test_short_year.py is real."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from boig import tracking
from boig.registry import AGAINST, FEED_NEWEST, FEED_POSTS, GATE, Registry
from flows import worktree, year

ROOT = Path(__file__).parents[2]
POSTS = 5
"""Of each month."""
REFUSED = {3: "canary: poisoned", 5: "judge: worse"}
"""Months whose retraining the stand-in's gate refuses, and why."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one commit, its servers named by the environment."""
    root = tmp_path / "project"
    for name in ("infra", "metrics", "profiles"):
        (root / name).mkdir(parents=True)
    settings = yaml.safe_load((ROOT / "infra/year.yaml").read_text())
    settings |= {"months": {"first": 1, "last": 5, "step": 1}, "poison": settings["poison"] | {"month": 3, "share": 1.0, "taken_back": 5}}
    (root / "infra/year.yaml").write_text(yaml.safe_dump(settings))
    for name in ("params.yaml", "profiles/year.yaml"):
        (root / name).write_text((ROOT / name).read_text())
    worktree.git(root, "init", "--quiet")
    worktree.git(root, "add", ".")
    worktree.git(root, *worktree.AUTHOR, "commit", "--quiet", "-m", "first")
    monkeypatch.chdir(root)
    for name in ("PREFECT_API_URL", "RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("flows.services.wait_for", lambda url: None)
    return root


def page(month: int) -> dict:
    posts = [{"id": f"{month}-{i}", "text": "a cup", "public_metrics": {"like_count": 10}} for i in range(POSTS)]
    return {"data": posts, "includes": {"media": []}, "meta": {"observed_at": f"2022-{month:02}-28T00:00:00.000Z"}}


class StandIn:
    """In place of the modules that the year runs: writes a feed, registers versions; fails once where it is told to."""

    def __init__(self) -> None:
        self.retrained: list[int] = []
        self.poisoned: list[int] = []
        self.fails_in = 0

    def run(self, project: Path, module: str, *arguments: str) -> str:
        if module == "flows.repro":
            feed = project / ".profiles/year/data/feed"
            for folder in ("pages", "media"):
                (feed / folder).mkdir(parents=True, exist_ok=True)
            for month in range(1, 6):
                (feed / "pages" / f"2022-{month:02}.jsonl").write_text(json.dumps(page(month)) + "\n")
            return ""
        feed = Path(yaml.safe_load(Path(arguments[1]).read_text())["feed"])
        posts = [post for file in (feed / "pages").glob("*") for post in json.loads(file.read_text())["data"]]
        month = len(posts) // POSTS
        if month == self.fails_in:
            raise ValueError(f"{module} ended with 1; see a log")
        self.retrained.append(month)
        self.poisoned += [month] if any(post["public_metrics"]["like_count"] > 10 for post in posts) else []
        return self._register(month, len(posts))

    def _register(self, month: int, posts: int) -> str:
        registry = Registry(os.environ["MLFLOW_TRACKING_URI"])
        champion = registry.champion()
        card = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")).parent / "card"
        card.mkdir(exist_ok=True)
        newest = datetime(2022, month, 28, tzinfo=UTC).isoformat()
        gate = f"refused: {REFUSED[month]}" if month in REFUSED else "passed: better"
        tags = {FEED_POSTS: str(posts), FEED_NEWEST: newest, GATE: gate, AGAINST: str(champion.number) if champion else ""}
        version = registry.register(tracking.start(tracking.uri(), "retraining", {}), card, tags, "")
        if version.passed:
            registry.promote(version, by="gate")
        return f"version {version.number}: {gate}"

    def foresight(self, _year, _project, _place, models, made, since) -> dict:
        """Who is asked, by number; about which posts."""
        return {name: {"reward": {"mean": version.number / 10, "lo": 0, "hi": 1, "n": 9}} for name, version in models.items()} | {
            "asked": {"made": made.number, "since": since.isoformat()}
        }


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(year, "_run", stand_in.run)
    monkeypatch.setattr(year, "_foresight", stand_in.foresight)
    return stand_in


def kept(project: Path) -> list[dict]:
    return json.loads((project / "metrics/year/year.json").read_text())["months"]


def test_each_month_asks_the_champion_before_it_and_the_first_model(
    project: Path, stand_in: StandIn, capsys: pytest.CaptureFixture
) -> None:
    assert year.main([]) == 0
    assert "5 months, 2 new champions after the first" in capsys.readouterr().out
    rows = kept(project)
    assert [row["champion"] for row in rows] == [1, 2, 2, 4, 4]
    assert rows[0]["knows"] == {}
    asked = [(row["knows"]["champion"]["reward"]["mean"] * 10, row["knows"]["first"]["reward"]["mean"] * 10) for row in rows[1:]]
    assert asked == [(1, 1), (2, 1), (2, 1), (4, 1)], "nobody is asked about a month that it has learned from"
    assert [row["knows"]["asked"]["since"][5:7] for row in rows[1:]] == ["01", "02", "03", "04"]
    assert stand_in.poisoned == [3, 4]
    chart = (project / "reports/year/year.svg").read_text()
    assert all(text in chart for text in ("champion, retrained", "first model, never retrained", "poisoned", "taken back"))
    assert worktree.git(project, "status", "--porcelain", "--untracked-files=no") == "", "it happens in a clone"


def test_an_interrupted_year_goes_on_and_another_commit_begins_anew(
    project: Path, stand_in: StandIn, capsys: pytest.CaptureFixture
) -> None:
    stand_in.fails_in = 3
    assert year.main([]) == 1
    assert capsys.readouterr().err == "year: flows.retrain ended with 1; see a log\n"
    before = kept(project)
    assert len(before) == 2
    stand_in.fails_in = 0
    assert year.main([]) == 0
    assert stand_in.retrained == [1, 2, 3, 4, 5]
    assert kept(project)[:2] == before
    assert year.main([]) == 0
    assert stand_in.retrained == [1, 2, 3, 4, 5], "a year that is over is not run again"
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "\n")
    worktree.git(project, *worktree.AUTHOR, "commit", "--quiet", "--all", "-m", "second")
    assert year.main([]) == 0
    assert stand_in.retrained == [1, 2, 3, 4, 5] * 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("last: 5", "last: 9"), "year: month 6 of a feed that has 5; months.last is too large"),
        (lambda text: "[]", "infra/year.yaml must map names to values"),
        (lambda text: text.replace("last: 5", "last: 0"), "year: "),
    ],
)
def test_mistakes_are_one_line(
    project: Path, stand_in: StandIn, capsys: pytest.CaptureFixture, change: Callable[[str], str], told: str
) -> None:
    path = project / "infra/year.yaml"
    path.write_text(change(path.read_text()))
    assert year.main([]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
