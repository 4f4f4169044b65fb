import numpy as np
import pytest

from boig.reward.calibration import beats, calibration_error, fit


def _posts(rng: np.random.Generator, n: int, said: float = 1.0):
    mean, sigma = rng.normal(50, 15, n), rng.uniform(5, 20, n)
    return mean, sigma * said, mean + sigma * rng.normal(size=n)


@pytest.mark.parametrize("said", [0.3, 1.0, 4.0])
def test_intervals_cover_ninety_percent_whatever_the_model_says_of_itself(said: float):
    rng = np.random.default_rng(0)
    mean, sigma, kpi = _posts(rng, 2000, said)
    none = np.zeros(0, int)
    q = fit(mean, sigma, kpi, none, none).quantile
    mean, sigma, kpi = _posts(rng, 4000, said)
    assert 0.88 < (np.abs(kpi - mean) <= q * sigma).mean() < 0.92


@pytest.mark.parametrize("said", [0.3, 1.0, 3.0])
def test_the_chance_to_win_is_made_honest(said: float):
    rng = np.random.default_rng(1)
    mean, sigma, kpi = _posts(rng, 2000, said)
    first, second = np.arange(0, 2000, 2), np.arange(1, 2000, 2)
    fitted = fit(mean, sigma, kpi, first, second)
    p, won = beats(mean, sigma, first, second, fitted), kpi[first] > kpi[second]
    assert fitted.pair_scale == pytest.approx(said, rel=0.25)
    assert calibration_error(p, won) < 0.05
    assert calibration_error(p, won) == pytest.approx(calibration_error(1 - p, ~won), abs=0.01)


def test_calibration_error_of_a_boaster_and_of_a_prophet():
    won = np.array([True, False] * 50)
    assert calibration_error(np.ones(100), won) == pytest.approx(0.5)
    assert calibration_error(won.astype(float), won) == 0


def test_too_few_posts_are_refused():
    with pytest.raises(ValueError, match="at least 9"):
        fit(np.zeros(5), np.ones(5), np.zeros(5), np.zeros(0, int), np.zeros(0, int))
