"""Each kind of leak is built on purpose and must be found; a clean feed must pass."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from boig.contracts import PICTURES
from boig.feed import leaks
from boig.feed.picture import perceptual_hash
from boig.feed.rules import Duplicates
from tests.boig.reward import toy

RULE = Duplicates(phash_bits=8, thumbnail_levels=5.0)


@pytest.fixture(scope="module")
def feed() -> toy.ToyFeed:
    return toy.make(240, accounts=6, side=32)


def _posts(feed: toy.ToyFeed) -> list[dict]:
    return [dict(p) for p in feed.posts]


def _of(posts: list[dict], split: str) -> dict:
    return next(p for p in posts if p["split"] == split)


def _copy(row: dict, picture: Image.Image, name: str) -> dict:
    """The picture as a row of its own."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return row | {"picture_id": name, "png": buffer.getvalue(), "phash": f"{perceptual_hash(picture):016x}"}


def test_a_clean_feed_passes(feed: toy.ToyFeed, tmp_path: Path):
    feed.write(tmp_path)
    leaks.check(tmp_path, RULE)


def test_a_post_in_two_splits(feed: toy.ToyFeed):
    posts = _posts(feed)
    posts.append(_of(posts, "train") | {"split": "test_time"})
    with pytest.raises(ValueError, match=r"leak: post 'p\d+' is in splits train and test_time; run ingest again"):
        leaks.splits(posts)


def test_a_group_in_two_splits(feed: toy.ToyFeed):
    posts = _posts(feed)
    _of(posts, "val")["group"] = _of(posts, "judge")["group"]
    with pytest.raises(ValueError, match=r"leak: near-duplicate group 'p\d+' is in splits"):
        leaks.splits(posts)


def test_a_held_out_account_elsewhere(feed: toy.ToyFeed):
    posts = _posts(feed)
    held = _of(posts, "test_account")
    moved = next(p for p in posts if p["account"] == held["account"] and p["post_id"] != held["post_id"])
    moved["split"] = "train"
    with pytest.raises(ValueError, match=r"leak: account .* of split test_account has a post in train; run ingest again"):
        leaks.splits(posts)


@pytest.mark.parametrize("split", ["train", "judge", "val"])
def test_a_newest_post_that_is_not_the_newest(feed: toy.ToyFeed, split: str):
    posts = _posts(feed)
    min((p for p in posts if p["split"] == split), key=lambda p: p["created_at"])["split"] = "test_time"
    with pytest.raises(ValueError, match=r"leak: post 'p\d+' of split \w+ is from .*, not before split test_time, which begins .*"):
        leaks.splits(posts)


@pytest.mark.parametrize("split", ["judge", "val", "test_time", "test_account"])
@pytest.mark.parametrize("column", ["post_id", "picture_id"])
def test_a_negative_from_another_split(feed: toy.ToyFeed, split: str, column: str):
    rows = [dict(n) for n in feed.negatives]
    rows[-1][column] = _of(feed.posts, split)[column]
    with pytest.raises(ValueError, match=f"leak: the negative of post .* takes from split {split}"):
        leaks.negatives(feed.posts, rows)


def test_a_negative_of_a_picture_that_train_shares_with_the_judge(feed: toy.ToyFeed):
    posts = _posts(feed)
    _of(posts, "judge")["picture_id"] = feed.negatives[0]["picture_id"]
    with pytest.raises(ValueError, match="takes from split judge"):
        leaks.negatives(posts, feed.negatives)


def test_a_negative_of_nothing(feed: toy.ToyFeed):
    with pytest.raises(ValueError, match="takes from split no,"):
        leaks.negatives(feed.posts, [feed.negatives[0] | {"picture_id": "gone"}])


def test_one_picture_in_two_splits(feed: toy.ToyFeed):
    posts = _posts(feed)
    _of(posts, "test_account")["picture_id"] = _of(posts, "train")["picture_id"]
    with pytest.raises(ValueError, match=r"leak: picture '\w+' is in splits"):
        leaks.pictures(posts, feed.pictures, RULE)


@pytest.mark.parametrize("split", ["judge", "val", "test_time", "test_account"])
def test_a_near_duplicate_that_the_groups_missed(feed: toy.ToyFeed, split: str):
    posts, rows = _posts(feed), list(feed.pictures)
    seen = next(r for r in rows if r["picture_id"] == _of(posts, "train")["picture_id"])
    brighter = ImageEnhance.Brightness(Image.open(io.BytesIO(seen["png"]))).enhance(1.01)
    copy = _copy(seen, brighter, "copy")
    assert copy["png"] != seen["png"]
    _of(posts, split)["picture_id"] = "copy"
    with pytest.raises(ValueError, match="are near-duplicates, but no group joins them"):
        leaks.pictures(posts, [*rows, copy], RULE)


def test_pictures_of_one_hash_and_other_colors_are_no_leak(feed: toy.ToyFeed):
    posts, rows = _posts(feed), list(feed.pictures)
    flat = [_copy(rows[0], Image.new("RGB", (32, 32), color), name) for color, name in (("red", "red"), ("cyan", "cyan"))]
    assert flat[0]["phash"] == flat[1]["phash"]
    _of(posts, "train")["picture_id"], _of(posts, "val")["picture_id"] = "red", "cyan"
    leaks.pictures(posts, [*rows, *flat], RULE)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("kpi_raw", "{:.0f} people like it"),
        ("kpi_raw", "likes:{:,.0f}"),
        ("kpi", "top {:.0f} %"),
        ("kpi", "kpi={:.2f}"),
    ],
)
def test_a_caption_that_tells_its_kpi(feed: toy.ToyFeed, column: str, told: str):
    posts = [p | {"kpi_raw": float(round(p["kpi_raw"]))} for p in _posts(feed)]
    for post in posts[::4]:
        post["caption"] += " " + told.format(post[column])
    with pytest.raises(ValueError, match=r"leak: \d+ of 240 captions hold the KPI"):
        leaks.captions(posts)


def test_numbers_that_say_nothing_are_no_leak(feed: toy.ToyFeed):
    rng = np.random.default_rng(0)
    posts = [p | {"kpi_raw": float(rng.integers(0, 4)), "caption": f"{rng.integers(0, 4)} for {rng.integers(0, 4)}"} for p in _posts(feed)]
    equal = sum(any(value == p["kpi_raw"] for value, _ in leaks.numbers(p["caption"])) for p in posts)
    assert equal > 60, "coincidences abound, or this test would test nothing"
    leaks.captions(posts)


def test_pictures_of_one_post_are_dealt_together(feed: toy.ToyFeed):
    template = _of(feed.posts, "train")
    numbers = np.random.default_rng(1).integers(0, 25, (1000, 2)).tolist()
    posts = [
        template | {"group": str(i), "post_id": f"{i}.{n}", "caption": f"Only {said} left", "kpi_raw": float(likes), "kpi": 50.0}
        for i, (said, likes) in enumerate(numbers)
        for n in range(10)
    ]
    leaks.captions(posts)


def test_prices_that_every_post_of_an_account_repeats_are_no_leak(feed: toy.ToyFeed):
    posts = [p | {"caption": "50 % off, 1,234 sold", "kpi": 50.0, "kpi_raw": 1234.0} for p in _posts(feed)]
    leaks.captions(posts)


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 200), st.integers(1, 400), st.floats(0, 1))
def test_captions_dealt_at_random_never_stop_a_run(seed: int, accounts: int, most: int, posts: int, share: float):
    """Whatever the account's habits: prices of its own, likes of its own, as many coincidences as there may be."""
    rng = np.random.default_rng(seed)
    level = rng.integers(0, most + 1, accounts)
    who = rng.integers(0, accounts, posts)
    number = level[who] + rng.integers(0, 5, posts)
    leaks.captions([
        {
            "group": str(i), "account": f"a{a}", "kpi_raw": float(level[a] + rng.integers(0, 5)), "kpi": float(rng.integers(0, 101)),
            "caption": f"only {n} left" if rng.random() < share else "new",
        }
        for i, (a, n) in enumerate(zip(who.tolist(), number.tolist(), strict=True))
    ])  # fmt: skip


@settings(max_examples=60)
@given(st.integers(2, 60), st.floats(0.05, 1), st.integers(0, 2**32))
def test_the_bound_holds_for_dealt_captions(posts: int, density: float, seed: int):
    """P(excess ≥ t) ≤ bound(t, m), for counts of a random deal, by simulation."""
    rng = np.random.default_rng(seed)
    matches = rng.random((posts, posts)) < density
    expected = matches.sum() / posts
    counts = np.array([matches[np.arange(posts), rng.permutation(posts)].sum() for _ in range(200)])
    for t in (1.0, 3.0, 10.0, 30.0):
        assert (counts - expected >= t).mean() <= leaks.bound(t, expected) + 0.15  # three standard errors of 200 draws and more


@pytest.mark.parametrize(
    ("text", "found"), [("1,234 for <3", [1234, 3]), ("12.50!", [12.5]), ("v2.0.1", [2.0, 1]), ("none", []), ("9" * 400, [])]
)
def test_numbers_of_a_text(text: str, found: list[float]):
    assert [value for value, _ in leaks.numbers(text)] == found
    json.dumps(leaks.numbers(text), allow_nan=False)


def test_tables_that_are_not_there_are_named(feed: toy.ToyFeed, tmp_path: Path):
    feed.write(tmp_path)
    (tmp_path / PICTURES.path).unlink()
    with pytest.raises(FileNotFoundError, match="pictures"):
        leaks.check(tmp_path, RULE)
