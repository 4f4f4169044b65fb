"""The law of likes: reproducible, with the wanted shares, and sensible in what it likes."""

from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boig.simulator import truth
from boig.simulator.facts import PictureFacts, measure
from boig.simulator.law import EPOCH, MISMATCH_SHARE, MONTHS, SHARES, SPREAD, Law, draw_noise, noise_quantiles, variance_within
from boig.simulator.posts import Post, brief_of, draw_posts
from boig.simulator.render import Box, render

SEEDS = (7, 8)


@cache
def law(seed: int = 7) -> Law:
    return Law.from_seed(seed)


@cache
def sample(seed: int, count: int = 500) -> tuple[list[Post], list[PictureFacts]]:
    posts = draw_posts(1, law(seed).accounts, count, EPOCH, MONTHS, MISMATCH_SHARE)
    return posts, [facts_of(p) for p in posts]


def facts_of(post: Post) -> PictureFacts:
    products = tuple((p.kind, p.box) for p in post.scene.products)
    return measure(render(post.scene)[None], [products], [bool(post.scene.slogan)])[0]


def briefs(seed: int, posts: list[Post]) -> list:
    return [brief_of(p, law(seed).account(p.account).industry) for p in posts]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_parts_have_their_shares_on_a_fresh_sample(seed: int) -> None:
    posts, facts = sample(seed)
    parts = truth.parts(law(seed), briefs(seed, posts), facts)
    owner = np.array([p.account for p in posts])
    variance = {name: variance_within(parts[name], owner) / SPREAD**2 for name in ("picture", "context")}
    variance["noise"] = noise_quantiles().var() / SPREAD**2
    assert variance == pytest.approx(SHARES, abs=0.08)


def test_another_seed_is_another_law_and_the_same_seed_the_same(tmp_path: Path) -> None:
    again = Law.from_seed(7)
    again.save(tmp_path / "a.json")
    law().save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert Law.load(tmp_path / "a.json") == law()
    assert law(8).weights != law(7).weights
    assert {a.industry for a in law().accounts} == set(law().weights.industry_color)


def test_a_drift_changes_the_taste_from_its_moment_on_and_nothing_else(tmp_path: Path) -> None:
    since = EPOCH + timedelta(days=365)
    drifted = Law.from_seed(7, drift=(since, 8))
    drifted.save(tmp_path / "law.json")
    assert Law.load(tmp_path / "law.json") == drifted
    posts, facts = sample(7)
    before, after = (truth.parts(one, briefs(7, posts), facts) for one in (law(), drifted))
    late = np.array([p.created_at >= since for p in posts])
    assert 0 < late.sum() < len(posts)
    assert (before["course"] == after["course"]).all()
    for part in ("context", "picture"):
        assert (before[part] == after[part])[~late].all()
        assert abs(np.corrcoef(before[part][late], after[part][late])[0, 1]) < 0.7
        owner = np.array([p.account for p in posts])[late]
        assert variance_within(after[part][late], owner) / SPREAD**2 == pytest.approx(SHARES[part], abs=0.12)


def test_a_missing_law_and_a_strange_account_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"law.json is missing"):
        Law.load(tmp_path / "law.json")
    with pytest.raises(ValueError, match="'nobody' is not of the law"):
        law().account("nobody")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_picture_without_the_named_product_costs_likes(seed: int) -> None:
    posts, facts = sample(seed)
    chosen = [
        (p, f) for p, f in zip(posts, facts, strict=True) if len(p.advertised) == 1 and {k for k, _ in f.products} == set(p.advertised)
    ][:50]
    shown = truth.parts(law(seed), briefs(seed, [p for p, _ in chosen]), [f for _, f in chosen])["picture"]
    swapped = [replace(f, products=tuple(("lamp" if k != "lamp" else "cup", box) for k, box in f.products)) for _, f in chosen]
    other = truth.parts(law(seed), briefs(seed, [p for p, _ in chosen]), swapped)["picture"]
    assert np.mean(shown - other) > 0.7
    assert (shown > other).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_good_pictures_exist_in_what_can_be_drawn(seed: int) -> None:
    """The best tenth of pictures that show what is named is worth at least half as many likes again as the middle."""
    posts, facts = sample(seed)
    effect = truth.parts(law(seed), briefs(seed, posts), facts)["picture"]
    matched = np.array([set(p.advertised) <= {k for k, _ in f.products} for p, f in zip(posts, facts, strict=True)])
    assert np.quantile(effect[matched], 0.9) - np.median(effect[matched]) > np.log(1.5)


def test_the_picture_changes_nothing_but_the_picture_part() -> None:
    posts, facts = sample(7)
    mine = briefs(7, posts)[:20]
    a, b = truth.parts(law(), mine, facts[:20]), truth.parts(law(), mine, facts[20:40])
    assert np.array_equal(a["course"], b["course"])
    assert np.array_equal(a["context"], b["context"])
    assert not np.array_equal(a["picture"], b["picture"])


def test_mean_and_median_of_likes_agree_with_draws() -> None:
    noise = draw_noise(np.random.default_rng(0), 400_000)
    assert noise.std() == pytest.approx(SPREAD * np.sqrt(SHARES["noise"]), rel=0.02)
    expected = np.array([4.0, 6.0])
    likes = np.expm1(expected[:, None] + noise)
    assert truth.mean_likes(expected) == pytest.approx(likes.mean(axis=1), rel=0.01)
    assert truth.median_likes(expected) == pytest.approx(np.median(likes, axis=1), rel=0.01)
    assert (truth.mean_likes(np.array([-3.0])) >= 0).all()


class Oracle:
    """A classifier that knows the scenes."""

    def __init__(self, posts: list[Post]) -> None:
        self.posts = posts

    def facts(self, pictures: np.ndarray) -> list:
        assert pictures.shape[1:] == (64, 64, 3)
        return [Seen(tuple((x.kind, x.box, 1.0) for x in p.scene.products), bool(p.scene.slogan)) for p in self.posts]


class Seen:
    def __init__(self, products: tuple[tuple[str, Box, float], ...], has_text: bool) -> None:
        self.products, self.has_text = products, has_text


def test_expected_likes_of_pictures_at_any_size() -> None:
    posts, facts = sample(7)
    posts = posts[:12]
    pictures = np.stack([render(p.scene) for p in posts])
    direct = truth.mean_likes(truth.expected_log_likes(law(), briefs(7, posts), facts[:12]))
    seen = truth.expected_likes(law(), briefs(7, posts), pictures, Oracle(posts))
    assert seen == pytest.approx(direct)
    large = np.stack([np.asarray(Image.fromarray(p).resize((128, 128), Image.Resampling.NEAREST)) for p in pictures])
    assert truth.expected_likes(law(), briefs(7, posts), large, Oracle(posts)) == pytest.approx(direct)


def test_lengths_must_agree() -> None:
    posts, facts = sample(7)
    with pytest.raises(ValueError, match="2 briefs, 3 pictures"):
        truth.parts(law(), briefs(7, posts[:2]), facts[:3])
    with pytest.raises(ValueError, match="one each per picture"):
        measure(np.zeros((2, 8, 8, 3), np.uint8), [()], [False])
