"""Baselines and consensus: what they answer, and that they look at nothing else."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boig.language.baselines import Frequency, Neighbor, mean_picture
from boig.language.consensus import color_gain, consensus
from boig.language.describe import tidy
from boig.language.metrics import coverage_rmse, set_iou
from boig.verbalizer.form import MAX_COLORS, ColorShare, ObjectBox, Verbalization
from boig.verbalizer.palette import NAMES
from tests.boig.language.strategies import relaxed, verbalizations


def encode(texts):
    """Counts of letters, unit length."""
    rows = np.array([[text.lower().count(chr(97 + i)) + 1e-3 for i in range(26)] for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def picture(color: str, share: float, label: str = "cup", left: float = 0.25) -> Verbalization:
    return Verbalization((ColorShare(color, share),), (0.5, 0.3, 0.2), (ObjectBox(label, (left, 0.25, left + 0.5, 0.75)),), f"a {label}")


def test_frequency_is_the_accounts_own(posts):
    model = Frequency(posts)
    brief = posts[0].brief
    own = [p.verbalization for p in posts if p.brief.account == brief.account]
    (found,) = model.describe([brief])
    assert found == mean_picture(own)
    count = Counter(c.name for v in own for c in v.colors)
    named = {c.name for c in found.colors}
    assert min(count[name] for name in named) >= max(n for name, n in count.items() if name not in named)
    assert tidy(found) == found


def test_frequency_of_an_unseen_account_is_its_industrys(posts):
    stranger = replace(posts[0].brief, account="Nobody")
    own = [p.verbalization for p in posts if p.brief.industry == stranger.industry]
    assert Frequency(posts).describe([stranger]) == [mean_picture(own)]
    assert Frequency(posts).describe([replace(stranger, industry="")]) == [mean_picture([p.verbalization for p in posts])]


def test_neighbor_finds_the_same_caption_and_prefers_the_same_account(posts):
    model = Neighbor(posts, encode)
    post = posts[17]
    (found,) = model.describe([post.brief])
    same = [p for p in posts if p.brief.caption == post.brief.caption and p.brief.account == post.brief.account]
    assert found == max(same, key=lambda p: p.brief.created_at).verbalization


@pytest.mark.parametrize("baseline", [Frequency, lambda posts: Neighbor(posts, encode)])
def test_no_posts(baseline):
    with pytest.raises(ValueError, match="no training posts"):
        baseline([])


def test_consensus_is_where_the_draws_agree():
    draws = [picture("Red", 0.5), picture("Red", 0.7), picture("Blue", 0.9, "shoe"), picture("Red", 0.6, left=0.0)]
    found = consensus(draws)
    assert [c.name for c in found.colors] == ["Red"]
    assert [o.label for o in found.objects] == ["cup"]
    assert found.caption == "a cup"


def test_consensus_is_no_worse_than_a_draw(posts):
    own = [p.verbalization for p in posts if p.brief.account == posts[0].brief.account]

    def risk(answer):
        return np.mean([coverage_rmse(answer, v) - set_iou([c.name for c in answer.colors], [c.name for c in v.colors]) for v in own])

    assert risk(consensus(own)) <= min(risk(v) for v in own) + 0.02


def test_consensus_of_one_draw_and_of_none(posts):
    assert consensus([posts[0].verbalization]) == posts[0].verbalization
    with pytest.raises(ValueError, match="no draws"):
        consensus([])


def test_consensus_of_draws_without_objects():
    bare = replace(picture("Red", 0.5), objects=())
    assert consensus([bare, bare, picture("Red", 0.5)]).objects == ()


side = st.floats(0.1, 0.9)


@relaxed
@given(st.lists(st.tuples(side, side, st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_the_consensus_box_errs_less_than_any_draw(boxes):
    """By the relative error of the area, over the draws, up to the rounding of its sides; and it lies in the picture."""
    shown = [ObjectBox("cup", (x * (1 - w), y * (1 - h), x * (1 - w) + w, y * (1 - h) + h)) for w, h, x, y in boxes]
    (found,) = consensus([Verbalization((), (0.5, 0.3, 0.2), (o,), "") for o in shown]).objects
    assert all(0 <= v <= 1 for v in found.box)

    def risk(area: float) -> float:
        return np.mean([abs(area - o.area) / o.area for o in shown])

    rounding = 0.02 / min(found.box[2] - found.box[0], found.box[3] - found.box[1])
    assert risk(found.area) <= min(risk(o.area) for o in shown) + rounding * found.area / min(o.area for o in shown)


@settings(max_examples=25)
@given(st.lists(verbalizations().map(tidy), min_size=1, max_size=8))  # a picture's text names no color twice
def test_a_mean_picture_lists_as_many_colors_as_agree_best(seen) -> None:
    """No shorter or longer list of the same frequent names fits the pictures better."""
    shown = mean_picture(seen)
    assert 1 <= len(shown.colors) <= MAX_COLORS or not any(v.colors for v in seen)
    by_size = sorted(shown.colors, key=lambda c: (-sum(c.name in {d.name for d in v.colors} for v in seen), NAMES.index(c.name)))
    best = sum(color_gain(shown.colors, v) for v in seen)
    for m in range(1, len(by_size)):
        assert best >= sum(color_gain(tuple(by_size[:m]), v) for v in seen) - 1e-9
