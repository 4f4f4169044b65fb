"""Posts, dirt, painted files, pages and the ceiling of the simulated feed."""

import io
import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boig.feed.v2 import industry_of
from boig.simulator.accounts import draw_accounts
from boig.simulator.captions import VOICES
from boig.simulator.catalog import BACKGROUND_COLORS, INDUSTRIES, KINDS, OCCASION_COLORS, OCCASIONS
from boig.simulator.ceiling import expected_percentile, pair_accuracy, pearson
from boig.simulator.dirt import SHARES, asides, deal
from boig.simulator.law import EPOCH
from boig.simulator.pages import PAGE_POSTS, Deletion, Sighting, collected, write_pages
from boig.simulator.painter import Painter
from boig.simulator.posts import brief_of, draw_posts, season_of
from tests.boig.feed.rules import KPI

ACCOUNTS = draw_accounts(np.random.default_rng(0), 2)
POSTS = draw_posts(3, ACCOUNTS, 600, EPOCH, 24, 0.08)


def test_accounts_name_their_industry_and_no_other() -> None:
    assert len({a.name for a in ACCOUNTS}) == 12
    for account in ACCOUNTS:
        assert industry_of(account.description, tuple(INDUSTRIES)) == account.industry
        assert sum(i in account.description.lower() for i in INDUSTRIES) == 1
        assert account.voice in VOICES
    with pytest.raises(ValueError, match="100 accounts per industry need 600 names"):
        draw_accounts(np.random.default_rng(0), 100)


def test_posts_are_by_time_with_growing_ids_and_name_what_they_advertise() -> None:
    assert len(POSTS) == 600
    assert [p.created_at for p in POSTS] == sorted(p.created_at for p in POSTS)
    assert len({p.post_id for p in POSTS}) == 600
    assert all(len(p.post_id) == 19 for p in POSTS)
    for p in POSTS:
        said = set(brief_of(p, "").caption.lower().replace(".", " ").replace("?", " ").replace("!", " ").split())
        assert set(p.advertised) <= said | {w.strip(",:") for w in said}
        assert {k for k in KINDS if k in said} <= set(p.advertised)
    mismatch = np.mean([not set(p.advertised) <= {x.kind for x in p.scene.products} for p in POSTS])
    assert 0.04 < mismatch < 0.12
    assert (POSTS[-1].created_at - POSTS[0].created_at) > timedelta(days=700)


def test_a_post_depends_on_its_own_draws_only() -> None:
    fewer = draw_posts(3, ACCOUNTS, 120, EPOCH, 24, 0.08)
    known = {(p.account, p.created_at): (p.text, p.scene) for p in POSTS}
    assert all(known[p.account, p.created_at] == (p.text, p.scene) for p in fewer)


def test_pictures_for_an_occasion_wear_its_colors() -> None:
    named = [(occasion, p.scene.color) for p in POSTS for occasion in OCCASIONS if f" {occasion}" in p.text]
    assert len(named) > 200
    dressed = np.mean([color in OCCASION_COLORS[occasion] for occasion, color in named])
    shuffled = np.mean([color in OCCASION_COLORS[other] for (_, color), (other, _) in itertools.pairwise(named)])
    assert dressed > shuffled + 0.3
    assert all(set(colors) <= set(BACKGROUND_COLORS) for colors in OCCASION_COLORS.values())
    assert set(OCCASION_COLORS) == set(OCCASIONS)


def test_seasons() -> None:
    assert [season_of(datetime(2024, m, 1, tzinfo=UTC)) for m in (12, 1, 4, 7, 10)] == ["winter", "winter", "spring", "summer", "autumn"]


def test_each_kind_of_dirt_occurs_and_none_at_scale_0() -> None:
    drafts = deal(3, POSTS, 1.0)
    assert {d.dirt for d in drafts} == {"", *SHARES}
    assert [d.post.post_id for d in drafts] == [p.post_id for p in POSTS]
    by_id = {d.post.post_id: d for d in drafts}
    for d in drafts:
        assert (d.source == d.post.post_id) == (d.dirt != "near_duplicate")
        if d.dirt == "near_duplicate":
            source = by_id[d.source]
            assert (source.post.account, source.post.scene, source.dirt) == (d.post.account, d.post.scene, "")
    assert {a.kind for a in asides(3, POSTS, 1.0)} == {"retweet", "video"}
    assert all(not d.dirt for d in deal(3, POSTS, 0.0))
    assert asides(3, POSTS, 0.0) == []


def test_painted_files_follow_from_the_draft_alone() -> None:
    drafts = [d for d in deal(3, POSTS, 1.0) if d.dirt][:40]
    one_by_one = [Painter(64)([{"draft": d}])[0]["painted"] for d in drafts]
    assert one_by_one == [row["painted"] for row in Painter(64)([{"draft": d} for d in drafts])]


def test_damage_is_what_it_says() -> None:
    for draft in deal(3, POSTS, 1.0):
        if draft.dirt not in ("missing_media", "truncated_picture", "absurd_size", "preview"):
            continue
        files = Painter(64).paint(draft).files
        assert len(files) == (2 if draft.dirt == "preview" else 1)
        data = files[-1][1]
        if draft.dirt == "missing_media":
            assert data == b""
        elif draft.dirt == "truncated_picture":
            with pytest.raises(OSError, match=r"truncated|broken|incomplete|unrecognized"):
                Image.open(io.BytesIO(data)).load()
        elif draft.dirt == "absurd_size":
            assert len(data) < 1000


def test_pages_hold_every_sighting_by_month_of_collection(tmp_path: Path) -> None:
    sightings = [Sighting(collected(p.created_at, EPOCH), p.post_id, p.account, p.created_at, p.text, 7, (("x.png", 64),)) for p in POSTS]
    gone = Deletion(EPOCH + timedelta(days=100), POSTS[0].post_id, POSTS[0].account)
    assert write_pages(tmp_path / "a", ACCOUNTS, sightings, [gone], frozenset({5, 9})) == 2
    ids, broken, events = [], 0, 0
    for path in sorted((tmp_path / "a").iterdir()):
        for line in path.read_text().splitlines():
            try:
                page = json.loads(line)
            except json.JSONDecodeError:
                broken += 1
                continue
            if isinstance(page["data"], dict):
                events += 1
                continue
            assert page["meta"]["observed_at"].startswith(path.stem)
            assert page["meta"]["result_count"] == len(page["data"]) <= PAGE_POSTS
            ids += [post["id"] for post in page["data"]]
    assert (sorted(ids), broken, events) == (sorted(p.post_id for p in POSTS), 2, 1)
    write_pages(tmp_path / "b", ACCOUNTS, sightings[::-1], [gone], frozenset({5, 9}))
    assert [p.read_bytes() for p in sorted((tmp_path / "a").iterdir())] == [p.read_bytes() for p in sorted((tmp_path / "b").iterdir())]


def test_nothing_is_collected_before_it_was_posted() -> None:
    for p in POSTS[:50]:
        assert collected(p.created_at, EPOCH, 0) > p.created_at
        assert collected(p.created_at, EPOCH) - p.created_at >= timedelta(days=7)


def test_the_expected_percentile_grows_with_the_expectation() -> None:
    rng = np.random.default_rng(0)
    time_us = np.sort(rng.integers(0, 10**15, 200))
    expected = rng.normal(5, 0.7, 200)
    ranks = expected_percentile(expected + rng.normal(0, 0.3, 200), expected, time_us, KPI.model_copy(update={"window_posts": 200}))
    assert pearson(ranks, expected) > 0.95
    assert ((ranks >= 0) & (ranks <= 100)).all()


def test_pair_accuracy_by_hand() -> None:
    owner = np.array(["a", "a", "a", "b", "b"])
    kpi = np.array([1.0, 2, 3, 9, 9])
    assert pair_accuracy(kpi, kpi, owner) == 1
    assert pair_accuracy(-kpi, kpi, owner) == 0
    assert pair_accuracy(np.zeros(5), kpi, owner) == 0.5
    assert pair_accuracy(np.array([1.0, 3, 2, 0, 1]), kpi, owner) == pytest.approx(2 / 3)
