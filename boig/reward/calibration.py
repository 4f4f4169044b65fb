"""What a score is worth: conformal intervals, the chance that one post beats another, and how honest that chance is.

Split-conformal with normalized residuals (Lei et al. 2018, §5.2): the interval is mean ± q · sigma, with q the
⌈(n + 1)(1 − alpha)⌉-th smallest |kpi − mean| / sigma of held-out posts.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

LEVEL = 0.9
_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Fixed on `val`."""

    quantile: float
    """Half width of the 90 % interval in sigmas."""
    pair_scale: float
    """Factor on the differences of two scores, in sigmas, that makes P(A > B) honest."""


def fit(mean: np.ndarray, sigma: np.ndarray, kpi: np.ndarray, first: np.ndarray, second: np.ndarray) -> Calibration:
    """Quantile and pair scale on held-out posts.

    Args:
        mean, sigma, kpi: (N,) score, its uncertainty, and what happened.
        first, second: (M,) row numbers of comparable pairs (one account, one period).

    Raises:
        ValueError: fewer than 9 posts, of which no 90 % quantile can be taken.
    """
    if len(kpi) < 9:
        raise ValueError(f"split val has {len(kpi)} posts, a 90 % interval needs at least 9; raise ingest.splits or the number of posts")
    residual = np.sort(np.abs(kpi - mean) / sigma)
    rank = min(math.ceil((len(kpi) + 1) * LEVEL), len(kpi))
    won = kpi[first] > kpi[second]
    scales = np.geomspace(0.05, 8, 120)
    losses = [_log_loss(_beats(mean, sigma, first, second, s), won) for s in scales] if len(won) else [0.0]
    return Calibration(quantile=float(residual[rank - 1]), pair_scale=float(scales[int(np.argmin(losses))]) if len(won) else 1.0)


def beats(mean: np.ndarray, sigma: np.ndarray, first: np.ndarray, second: np.ndarray, calibration: Calibration) -> np.ndarray:
    """P(post `first` has a higher KPI than post `second`), (M,)."""
    return _beats(mean, sigma, first, second, calibration.pair_scale)


def _beats(mean: np.ndarray, sigma: np.ndarray, first: np.ndarray, second: np.ndarray, scale: float) -> np.ndarray:
    return ndtr(scale * (mean[first] - mean[second]) / np.hypot(sigma[first], sigma[second]))


def _log_loss(p: np.ndarray, won: np.ndarray) -> float:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return float(-np.where(won, np.log(p), np.log1p(-p)).mean())


def calibration_error(p: np.ndarray, won: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal width of the favorite's chance, 0.5–1.

    Args:
        p: (M,) P(A > B).
        won: (M,) whether A beat B.
    """
    favorite = np.maximum(p, 1 - p)
    right = np.where(p >= 0.5, won, 1 - np.asarray(won, float))
    at = np.minimum(((favorite - 0.5) * 2 * _BINS).astype(int), _BINS - 1)
    gap = np.abs(np.bincount(at, right - favorite, _BINS))
    return float(gap.sum() / len(p)) if len(p) else float("nan")
