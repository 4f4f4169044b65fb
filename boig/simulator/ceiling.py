"""How well the law itself predicts the KPI: no model can do better, so results are stated as a share of it."""

import numpy as np

from boig.feed.kpi import windows
from boig.feed.rules import KpiRule
from boig.simulator.law import noise_quantiles

_NOISE_POINTS = 101


def expected_percentile(
    log_likes: np.ndarray, expected: np.ndarray, time_us: np.ndarray, rule: KpiRule, newest: np.ndarray | None = None
) -> np.ndarray:
    """The law's expectation of the KPI itself, 0–100, for the posts of one account: the mean over the noise of the rank in the window.

    Args:
        log_likes: log1p of the likes that happened, (N,), by time.
        expected: the law's expectation of them, (N,).
        time_us: posting times, ascending, (N,) int64.
        rule: of the window.
        newest: (N,) bool, held out as the newest, see `boig.feed.kpi`; None for no such posts.
    """
    noise = noise_quantiles(_NOISE_POINTS)  # (K,)
    ranks = np.empty(len(expected))
    for i, (a, b) in enumerate(zip(*(edge.tolist() for edge in windows(time_us, rule, newest)), strict=True)):
        window = np.sort(log_likes[a:b])
        ranks[i] = np.searchsorted(window, expected[i] + noise).mean() / (b - a)
    return 100.0 * ranks


def pair_accuracy(score: np.ndarray, kpi: np.ndarray, owner: np.ndarray) -> float:
    """Share of the pairs of one account's posts, with different KPI, that the score orders as the KPI does; a tied score counts half."""
    right = total = 0.0
    for name in np.unique(owner):
        s, k = score[owner == name], kpi[owner == name]
        upper = np.triu_indices(len(s), 1)
        ds, dk = (s[:, None] - s[None])[upper], (k[:, None] - k[None])[upper]
        right += (ds[dk != 0] * dk[dk != 0] > 0).sum() + 0.5 * (ds[dk != 0] == 0).sum()
        total += (dk != 0).sum()
    return float(right / total) if total else float("nan")


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation; not a number for fewer than three values."""
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 else float("nan")
