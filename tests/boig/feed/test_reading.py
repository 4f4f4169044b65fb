"""Readers: X API v2 in its forms, tables, and feeds that are neither."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from boig.feed import REASONS, SKIPS
from boig.feed.reading import feed_root, read, unchanged
from boig.feed.rows import Deleted, Failed, Item, Row, Skipped
from boig.feed.v2 import industry_of
from boig.feed.v2 import read as read_v2
from tests.boig.feed.rules import COLUMNS

INDUSTRIES = ("food", "tech")
POST = {
    "id": "10", "text": "Hi &amp; ho", "author_id": "1", "created_at": "2024-01-01T00:00:00.000Z",
    "public_metrics": {"like_count": 12}, "attachments": {"media_keys": ["3_1"]},
}  # fmt: skip
PHOTO = {"media_key": "3_1", "type": "photo", "url": "https://pbs.example.com/media/x.jpg?name=large"}
USER = {"id": "1", "username": "acme", "description": "Tech, since 1990"}


def page(*posts: dict, **meta: object) -> dict:
    return {"data": list(posts), "includes": {"media": [PHOTO], "users": [USER]}, "meta": meta}


def items(folder: Path, *values: object) -> list[Item]:
    (folder / "a.jsonl").write_text("".join((v if isinstance(v, str) else json.dumps(v)) + "\n" for v in values))
    return list(read_v2(folder, [folder / "a.jsonl"], INDUSTRIES))


def test_a_page(tmp_path: Path) -> None:
    (found,) = items(tmp_path, page(POST, observed_at="2024-01-09T00:00:00Z"))
    assert isinstance(found, Row)
    assert (found.origin, found.account, found.industry, found.kpi_raw, found.caption) == ("10", "acme", "tech", 12, "Hi &amp; ho")
    assert found.picture == PHOTO["url"]
    assert f"{found.observed_at:%d}" == "09"


def test_a_flattened_line_and_a_single_post_say_the_same(tmp_path: Path) -> None:
    flat = POST | {"author": USER, "attachments": {"media": [PHOTO]}}
    single = {"data": POST, "includes": {"media": [PHOTO], "users": [USER]}}
    a, b, c = items(tmp_path, flat, single, page(POST))
    assert isinstance(a, Row)
    assert {r.picture for r in (a, b, c)} == {PHOTO["url"]}
    assert (a.account, a.kpi_raw, a.created_at) == (b.account, b.kpi_raw, b.created_at) == (c.account, c.kpi_raw, c.created_at)


def test_pictures_that_were_saved_are_taken_from_the_media_folder(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "x.jpg").touch()
    (found,) = items(tmp_path, page(POST))
    assert isinstance(found, Row)
    assert found.picture == "media/x.jpg"


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"referenced_tweets": [{"type": "retweeted", "id": "9"}]}, "retweet"),
        ({"attachments": {}}, "no_picture"),
        ({"attachments": {"media_keys": ["13_1"]}}, "video"),
        ({"id": ""}, "bad_row"),
        ({"author_id": "2"}, "bad_row"),
        ({"created_at": "soon"}, "bad_time"),
        ({"public_metrics": {}}, "bad_kpi"),
        ({"public_metrics": None}, "bad_kpi"),
        ({"public_metrics": {"like_count": "many"}}, "bad_kpi"),
    ],
)
def test_posts_that_are_left_out(tmp_path: Path, change: dict, outcome: str) -> None:
    changed = page(POST | change)
    changed["includes"]["media"].append({"media_key": "13_1", "type": "video"})
    changed["includes"]["media"] = list(changed["includes"]["media"])
    (found,) = items(tmp_path, changed)
    assert isinstance(found, (Failed, Skipped))
    assert found.reason == outcome
    assert outcome in REASONS or outcome in SKIPS


@pytest.mark.parametrize("line", ['{"data": [', "[1, 2]", '{"hello": 1}', "null", "\u0000", '{"data": 3}', "[" * 100_000])
def test_a_broken_line_fails_alone(tmp_path: Path, line: str) -> None:
    broken, fine = items(tmp_path, line, page(POST))
    assert isinstance(broken, Failed)
    assert broken.reason == "broken_line"
    assert broken.source == "a.jsonl:1"
    assert isinstance(fine, Row)


def test_deletion_events_in_both_forms(tmp_path: Path) -> None:
    event = {"delete": {"tweet": {"id": "10", "author_id": "1"}, "event_at": "x"}}
    old = {"delete": {"status": {"id": 11, "id_str": "11"}}}
    assert items(tmp_path, {"data": event}, old) == [Deleted("10"), Deleted("11")]


_KEYS = (
    "data", "includes", "meta", "media", "users", "id", "text", "attachments", "media_keys", "type", "url", "delete", "tweet", "author_id",
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5),
    max_leaves=20,
)


_PHOTO = st.fixed_dictionaries(
    {"media_key": _JSON, "type": st.just("photo"), "url": _JSON | st.sampled_from(["http://[", "http://a/b.png"])}
)
_POST = st.fixed_dictionaries(
    {
        "id": _JSON,
        "text": _JSON,
        "author_id": _JSON,
        "created_at": _JSON,
        "attachments": st.fixed_dictionaries({"media_keys": _JSON, "media": st.lists(_PHOTO, max_size=2) | _JSON}) | _JSON,
    }
)
_PAGE = st.fixed_dictionaries(
    {"data": _POST, "includes": st.fixed_dictionaries({"media": st.lists(_PHOTO, max_size=2), "users": _JSON}) | _JSON, "meta": _JSON}
)


@example({"data": {"attachments": {"media": None}}})
@example({"id": "1", "text": "", "attachments": {"media": 3}})
@example({"data": {"attachments": {"media_keys": [["3_1"]]}}, "includes": {"media": [{"media_key": {}}], "users": [{"id": []}]}})
@given(_JSON | _POST | _PAGE)
def test_no_json_value_stops_the_reader(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    items(tmp_path_factory.mktemp("v2"), value)


def test_compressed_pages_and_an_archive_that_ends_early(tmp_path: Path) -> None:
    text = (json.dumps(page(POST)) + "\n").encode()
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.jsonl.gz").write_bytes(gzip.compress(text))
    (tmp_path / "pages" / "b.jsonl.zst").write_bytes(zstandard.compress(text.replace(b'"10"', b'"11"')))
    (tmp_path / "pages" / "c.jsonl.gz").write_bytes(gzip.compress(text * 50)[:-12])
    intake = read(tmp_path, COLUMNS, INDUSTRIES)
    assert [r.origin for r in intake.rows] == ["10", "11"]
    assert [f.source for f in intake.failed] == ["c.jsonl.gz"]


def test_the_industry_is_a_word_of_the_profile() -> None:
    assert industry_of("We sell FOOD and tech.", INDUSTRIES) == "food"
    assert industry_of("Biotechnology", INDUSTRIES) == ""


TABLE = pd.DataFrame(
    {
        "id": ["1", "2", "2", "3", "4"],
        "account": ["a", "a", "a", "", "b"],
        "time": ["2024-01-01", "2024-01-02", "2024-01-02", "2024-01-03", "x"],
        "picture": ["1.png", "2.png", "3.png", "4.png", "5.png"],
        "kpi": ["5", "6", "7", "8", "9"],
        "caption": ["", "b", "b", "c", "d"],
    }
)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_a_table_alone_or_in_a_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        TABLE.to_parquet(path)
    else:
        TABLE.to_csv(path, index=False)
    for feed in (path, tmp_path):
        intake = read(feed, COLUMNS, INDUSTRIES)
        assert [(r.origin, r.picture, r.kpi_raw) for r in intake.rows] == [("1", "1.png", 5), ("2", "2.png", 6), ("2", "3.png", 7)]
        assert [f.reason for f in intake.failed] == ["bad_row", "bad_time"]
        assert feed_root(feed) == tmp_path


def test_typed_parquet_columns(tmp_path: Path) -> None:
    frame = TABLE.assign(id=[1, 2, 3, 4, 5], account="a", time=pd.to_datetime("2024-01-01"), kpi=[1.5, None, 3, 4, 5])
    frame.to_parquet(tmp_path / "t.parquet")
    intake = read(tmp_path, COLUMNS, INDUSTRIES)
    assert [r.origin for r in intake.rows] == ["1", "3", "4", "5"]
    assert [f.reason for f in intake.failed] == ["bad_kpi"]


def test_feeds_that_cannot_be_read_say_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        read(tmp_path / "nowhere", COLUMNS, INDUSTRIES)
    with pytest.raises(ValueError, match="neither pages"):
        read(tmp_path, COLUMNS, INDUSTRIES)
    (tmp_path / "pages").mkdir()
    with pytest.raises(ValueError, match="it is empty"):
        read(tmp_path, COLUMNS, INDUSTRIES)
    (tmp_path / "pages" / "a.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match=r"none of its 1 rows can be used \(broken_line\)"):
        read(tmp_path, COLUMNS, INDUSTRIES)


def test_a_missing_column_is_named_with_the_mend(tmp_path: Path) -> None:
    TABLE.drop(columns=["kpi", "caption"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match=r"no column 'kpi' \(ingest.columns.kpi\).*set ingest.columns.caption to ''"):
        read(tmp_path, COLUMNS, INDUSTRIES)
    with pytest.raises(ValueError, match=r"ingest.columns.id is empty"):
        read(tmp_path, COLUMNS.model_copy(update={"id": ""}), INDUSTRIES)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda feed: (feed / "pages" / "b.jsonl").write_text("{}"), "pages/b.jsonl"),
        (lambda feed: (feed / "pages" / "a.jsonl").write_text("{}{}"), "pages/a.jsonl"),
        (lambda feed: (feed / "media" / "x.png").unlink(), "media/x.png"),
        (lambda feed: (feed / "media" / "x.png").rename(feed / "media" / "y.png"), "media/x.png, media/y.png"),
    ],
)
def test_a_feed_that_is_written_to_while_it_is_read_is_refused(tmp_path: Path, change, told: str) -> None:
    for name in ("pages/a.jsonl", "media/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with unchanged(tmp_path), unchanged(tmp_path / "pages" / "a.jsonl"):
        read_all = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(read_all) == 2
    with pytest.raises(ValueError, match=rf"was written to while it was read \({told}\); run again"), unchanged(tmp_path):
        change(tmp_path)
