import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boig.reward.calibration import LEAST_POSTS, Calibration, HeldOut, beats, calibration_error, fit

NONE = np.zeros(0, int)


def _posts(rng: np.random.Generator, n: int, said: float = 1.0) -> HeldOut:
    mean, sigma = rng.normal(50, 15, n), rng.uniform(5, 20, n)
    return HeldOut(mean, sigma * said, mean + sigma * rng.normal(size=n))


def _covered(posts: HeldOut, fitted: Calibration, group: str) -> float:
    return float((np.abs(posts.kpi - posts.mean) <= fitted.half_widths([group] * len(posts.kpi)) * posts.sigma).mean())


@pytest.mark.parametrize("said", [0.3, 1.0, 4.0])
def test_intervals_cover_ninety_percent_whatever_the_model_says_of_itself(said: float):
    rng = np.random.default_rng(0)
    fitted = fit(_posts(rng, 2000, said), ["known"] * 2000, _posts(rng, 2000, said / 2), NONE, NONE)
    assert 0.88 < _covered(_posts(rng, 4000, said), fitted, "known") < 0.92
    assert 0.88 < _covered(_posts(rng, 4000, said / 2), fitted, "unknown") < 0.92
    assert fitted.quantiles["unknown"] == pytest.approx(2 * fitted.quantiles["known"], rel=0.1)


@settings(max_examples=30)
@given(st.integers(9, 400), st.integers(0, 2**32))
def test_at_most_a_tenth_of_the_calibrating_posts_is_outside(posts: int, seed: int):
    held_out = _posts(np.random.default_rng(seed), posts)
    fitted = fit(held_out, ["known tech"] * posts, held_out, NONE, NONE)
    for group in ("known tech", "known", "unknown tech"):
        assert _covered(held_out, fitted, group) >= 0.9


def test_an_industry_has_its_own_width_where_it_has_posts_enough():
    rng = np.random.default_rng(2)
    sizes = {"known food": LEAST_POSTS, "known tech": LEAST_POSTS - 1, "unknown home": 900}
    calm, wild = _posts(rng, LEAST_POSTS, 2.0), _posts(rng, LEAST_POSTS - 1, 0.5)
    strange = _posts(rng, 900, 0.01)
    parts = (calm, wild, strange)
    posts = HeldOut(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("mean", "sigma", "kpi")))
    fitted = fit(posts, [g for g, n in sizes.items() for _ in range(n)], strange, NONE, NONE)
    assert set(fitted.quantiles) == {"known", "known food", "unknown"}
    assert fitted.quantiles["known food"] < fitted.quantiles["known"] < fitted.quantiles["unknown"]
    known, unknown = fitted.quantiles["known"], fitted.quantiles["unknown"]
    widths = fitted.half_widths(["known food", "known tech", "known", "unknown home", "unknown"])
    assert widths.tolist() == [fitted.quantiles["known food"], known, known, unknown, unknown]


@pytest.mark.parametrize("said", [0.3, 1.0, 3.0])
def test_the_chance_to_win_is_made_honest(said: float):
    rng = np.random.default_rng(1)
    posts = _posts(rng, 2000, said)
    first, second = np.arange(0, 2000, 2), np.arange(1, 2000, 2)
    fitted = fit(posts, ["known"] * 2000, posts, first, second)
    p, won = beats(posts.mean, posts.sigma, first, second, fitted), posts.kpi[first] > posts.kpi[second]
    assert fitted.pair_scale == pytest.approx(said, rel=0.25)
    assert calibration_error(p, won) < 0.05
    assert calibration_error(p, won) == pytest.approx(calibration_error(1 - p, ~won), abs=0.01)


def test_calibration_error_of_a_boaster_and_of_a_prophet():
    won = np.array([True, False] * 50)
    assert calibration_error(np.ones(100), won) == pytest.approx(0.5)
    assert calibration_error(won.astype(float), won) == 0


def test_too_few_posts_are_refused():
    few = HeldOut(np.zeros(8), np.ones(8), np.zeros(8))
    with pytest.raises(ValueError, match="8 posts, a 90 % interval needs at least 9"):
        fit(few, ["known"] * 8, few, NONE, NONE)
