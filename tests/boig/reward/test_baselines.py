"""The ridge on pictures learns what they show, and says the same each time."""

import numpy as np

from boig.reward import baselines


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


def test_ridge_on_pictures_takes_an_empty_split():
    shown, kpi = _pictures(12, 0)
    assert baselines.picture_ridge(shown, kpi)(shown[:0]).shape == (0,)
