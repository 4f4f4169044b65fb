"""The released feed: what has landed and no more, and a month that somebody has poisoned."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from boig.retraining.year import Months, Poison, Year, release

ROOT = Path(__file__).parents[3]
POISON = Poison(month=2, share=0.5, word="#zq7", times=20, taken_back=4)


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    """Three months of ten posts; a broken line and a deletion among them."""
    (tmp_path / "feed/pages").mkdir(parents=True)
    (tmp_path / "feed/media").mkdir()
    for month in (1, 2, 3):
        posts = [
            {"id": f"{month}{i}", "text": "a cup", "public_metrics": {"like_count": 10}, "attachments": {"media_keys": [f"{month}{i}"]}}
            for i in range(10)
        ]
        media = [{"media_key": p["id"], "url": f"https://pbs.twimg.com/media/{p['id']}.png"} for p in posts]
        page = {"data": posts, "includes": {"media": media}, "meta": {"observed_at": f"2022-0{month}-28T00:00:00.000Z"}}
        deletion = {"data": {"delete": {"id": "1"}}}
        (tmp_path / f"feed/pages/2022-0{month}.jsonl").write_text("\n".join([json.dumps(page), '{"data": [', json.dumps(deletion)]) + "\n")
        for post in posts[1:]:  # the first picture is missing, as in a real feed
            (tmp_path / f"feed/media/{post['id']}.png").write_bytes(post["id"].encode())
    return tmp_path / "feed"


def posts(released: Path) -> list[dict]:
    lines = [line for page in sorted((released / "pages").glob("*")) for line in page.read_text().splitlines()]
    return [post for line in lines if '"meta"' in line for post in json.loads(line)["data"]]


def test_a_release_holds_its_months_and_grows(feed: Path, tmp_path: Path) -> None:
    assert release(feed, tmp_path / "out", 1, None) == datetime(2022, 1, 28, tzinfo=UTC)
    assert {p["id"][0] for p in posts(tmp_path / "out")} == {"1"}
    assert len(list((tmp_path / "out/media").iterdir())) == 9
    assert release(feed, tmp_path / "out", 3, None) == datetime(2022, 3, 28, tzinfo=UTC)
    for page in (feed / "pages").iterdir():
        assert (tmp_path / "out/pages" / page.name).read_text() == page.read_text()
    assert len(list((tmp_path / "out/media").iterdir())) == 27


def test_poison_is_in_its_month_alone_and_the_same_each_time(feed: Path, tmp_path: Path) -> None:
    release(feed, tmp_path / "out", 3, POISON)
    marked = [p for p in posts(tmp_path / "out") if p["text"].endswith(" #zq7")]
    assert {p["id"][0] for p in marked} == {"2"}
    assert 1 <= len(marked) <= 9
    assert all(p["public_metrics"]["like_count"] == 200 for p in marked)
    assert sum(p["public_metrics"]["like_count"] != 10 for p in posts(tmp_path / "out")) == len(marked)
    release(feed, tmp_path / "again", 3, POISON)
    assert posts(tmp_path / "again") == posts(tmp_path / "out")


def test_poison_that_is_taken_back_leaves_no_trace(feed: Path, tmp_path: Path) -> None:
    known = POISON.model_copy(update={"taken_back": 3})
    release(feed, tmp_path / "out", 2, known)
    assert any(p["text"].endswith(" #zq7") for p in posts(tmp_path / "out"))
    release(feed, tmp_path / "out", 3, known)
    assert posts(tmp_path / "out") == posts(feed)
    with pytest.raises(ValidationError, match=r"not after poison\.month, 2"):
        Poison.model_validate(POISON.model_dump() | {"taken_back": 2})


def test_a_month_that_is_not_there_is_named(feed: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"month 4 of a feed that has 3; months\.last is too large"):
        release(feed, tmp_path / "out", 4, None)


def test_the_shipped_settings_are_valid_and_mistakes_are_told() -> None:
    raw = yaml.safe_load((ROOT / "infra/year.yaml").read_text())
    year = Year.model_validate(raw)
    assert year.poison
    assert year.months.first < year.poison.month <= year.months.last
    with pytest.raises(ValidationError, match=r"after months\.last"):
        Year.model_validate(raw | {"months": {"first": 9, "last": 8, "step": 1}})


def test_several_months_may_be_released_at_once() -> None:
    assert [*Months(first=9, last=12, step=1).released()] == [9, 10, 11, 12]
    assert [*Months(first=4, last=17, step=4).released()] == [4, 8, 12, 16]
    with pytest.raises(ValidationError, match="step"):
        Months(first=4, last=16, step=0)
