"""A KPI that accounts can share: percentile rank within the account's recent posts, and low / medium / high.

The exact normalization of the published work is unknown (paper.md §2). Ours ranks a post among its account's posts of the `window_days`
before it, itself included, and among at least its `window_posts` latest ones. It looks back, not ahead: a post's label never changes when
newer posts arrive, and holds nothing of the future. Only the account's first `window_posts` posts, which have no past to be ranked in, are
ranked among each other, but never with posts that are held out as the newest: in a small account their KPI would be in the labels that
training sees. Ties share the middle of their ranks.
"""

import numpy as np

from boig.brief import BUCKETS
from boig.feed.rules import KpiRule

_DAY_US = 86_400_000_000


def windows(time_us: np.ndarray, rule: KpiRule, newest: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last index of each post's window.

    Args:
        time_us: posting times of one account in microseconds, ascending, (N,) int64.
        rule: `window_days` and `window_posts`.
        newest: whether a post is held out as one of the newest, (N,) bool; None for no such posts.

    Returns:
        (N,) and (N,) int64.
    """
    end = np.searchsorted(time_us, time_us, side="right")
    start = np.searchsorted(time_us, time_us - rule.window_days * _DAY_US, side="left")
    start = np.maximum(np.minimum(start, end - rule.window_posts), 0)
    ahead = len(time_us) if newest is None or not newest.any() else int(np.argmax(newest))
    return start, np.maximum(end, np.minimum(start + rule.window_posts, ahead))


def percentiles(values: np.ndarray, time_us: np.ndarray, rule: KpiRule, newest: np.ndarray | None = None) -> np.ndarray:
    """Percentile rank, 0–100, of each post of one account within its window.

    Args:
        values: the KPI in its own unit, (N,) float64.
        time_us: posting times, ascending, (N,) int64.
        rule: the window.
        newest: as in `windows`.

    Returns:
        (N,) float64; unchanged under any strictly increasing transform of `values`.
    """
    start, end = windows(time_us, rule, newest)
    ranks = np.empty(len(values))
    for i, (a, b) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        window = values[a:b]
        ranks[i] = ((window < values[i]).sum() + 0.5 * (window == values[i]).sum()) / (b - a)
    return 100.0 * ranks


def normalize(account: np.ndarray, time_us: np.ndarray, values: np.ndarray, rule: KpiRule, newest: np.ndarray) -> np.ndarray:
    """KPI on 0–100 of posts of many accounts, (N,) float64, in any order.

    Args:
        account: (N,) names.
        time_us: posting times, (N,) int64.
        values: the KPI in its own unit, (N,) float64.
        rule: of the window, or that the KPI is on the scale already.
        newest: (N,) bool, whether a post is held out as one of the newest.

    Raises:
        ValueError: `rule.scale` is `given` and a value is outside 0–100; or no account has two different values.
    """
    if len(np.unique(values)) < 2:
        raise ValueError(f"the KPI is constant ({values[0]:g}); name a KPI column that varies")
    if rule.scale == "given":
        wrong = values[(values < 0) | (values > 100)]
        if len(wrong):
            raise ValueError(f"kpi.scale is 'given' but a KPI is {wrong[0]:g}, outside 0–100; set kpi.scale to 'percentile'")
        return values.astype(np.float64)
    kpi, varied = np.empty(len(values)), False
    for name in np.unique(account):
        rows = np.flatnonzero(account == name)
        rows = rows[np.argsort(time_us[rows], kind="stable")]
        kpi[rows] = percentiles(values[rows], time_us[rows], rule, newest[rows])
        varied = varied or bool(np.ptp(values[rows]) > 0)
    if not varied:
        raise ValueError(f"the KPI is constant ({values[0]:g}) within every account; name a KPI column that varies")
    return kpi


def buckets(kpi: np.ndarray, values: np.ndarray, rule: KpiRule) -> list[str]:
    """low, medium or high: the percentile decides, but medium and high also need the KPI above their absolute floor.

    The natural reading of paper.md §2: low > 20 (posts at or below it are left out before, see `above_floor`), medium > 30, high > 40.
    A floor of 0 is no floor.
    """
    high = (kpi >= rule.high_percentile) & _above(values, rule.floor_high)
    medium = (kpi >= rule.medium_percentile) & _above(values, rule.floor_medium)
    return [BUCKETS[2] if h else BUCKETS[1] if m else BUCKETS[0] for h, m in zip(high.tolist(), medium.tolist(), strict=True)]


def above_floor(values: np.ndarray, rule: KpiRule) -> np.ndarray:
    """Whether a post counts at all, (N,) bool: its KPI is above the lowest floor."""
    return _above(values, rule.floor_low)


def _above(values: np.ndarray, floor: float) -> np.ndarray:
    return values > floor if floor else np.ones(len(values), dtype=bool)
