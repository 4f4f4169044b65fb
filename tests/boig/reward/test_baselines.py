"""The ridge on pictures learns what they show, and says the same each time."""

from datetime import UTC, datetime

import numpy as np
import pytest

from boig.brief import Brief
from boig.reward import baselines
from boig.reward.rows import Posts
from boig.verbalizer.form import Verbalization


def _pictures(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a red cast that is the KPI."""
    rng = np.random.default_rng(seed)
    kpi = rng.uniform(0, 100, n)
    pictures = rng.integers(0, 120, (n, 32, 32, 3))
    pictures[..., 0] += kpi.astype(int)[:, None, None]
    return pictures.astype(np.uint8), kpi


def test_ridge_on_pictures_predicts_held_out_ones_and_repeats_itself():
    (shown, kpi), (held_out, truth) = _pictures(32, 0), _pictures(16, 1)
    first, second = (baselines.picture_ridge(shown, kpi)(held_out) for _ in range(2))
    assert np.corrcoef(first, truth)[0, 1] > 0.8
    assert np.array_equal(first, second)


def _posts(captions: list[str]) -> Posts:
    kpi = np.random.default_rng(2).uniform(0, 100, len(captions))
    briefs = [Brief(str(i), f"a{i % 4}", "food", datetime(2023, 1, 1 + i % 28, tzinfo=UTC), text) for i, text in enumerate(captions)]
    return Posts(briefs, [Verbalization((), (0, 1, 0), (), "")] * len(captions), kpi)


def test_captions_without_a_common_word_tell_the_mean():
    posts = _posts([f"新しい口紅{i}" for i in range(60)])
    assert baselines.caption_only(posts)(posts.briefs[:3]) == pytest.approx([posts.kpi.mean()] * 3)
    assert baselines.caption_only(_posts(["one"]))(posts.briefs[:2]).shape == (2,)


def test_baselines_take_an_empty_split():
    posts = _posts(["a cup", "a shoe"] * 30)
    for predict in (baselines.account_mean(posts), baselines.context_gbm(posts, 1), baselines.caption_only(posts)):
        assert predict([]).shape == (0,)
        assert np.isfinite(predict(posts.briefs)).all()


def test_ridge_on_pictures_takes_an_empty_split():
    shown, kpi = _pictures(12, 0)
    assert baselines.picture_ridge(shown, kpi)(shown[:0]).shape == (0,)
