"""What a score is worth: conformal intervals, the chance that one post beats another, and how honest that chance is.

Split-conformal with normalized residuals (Lei et al. 2018, §5.2): the interval is mean ± q · sigma, with q the
⌈(n + 1)(1 − alpha)⌉-th smallest |kpi − mean| / sigma of held-out posts. By groups (Mondrian, Vovk et al. 2005, §4.5): posts of
accounts that training knows and posts of others have their own q, and so has each industry of known accounts with posts enough.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from boig.brief import Brief

LEVEL = 0.9
KNOWN, UNKNOWN = "known", "unknown"
LEAST_POSTS = 223
"""An industry with fewer has no quantile of its own. Coverage with a quantile of n posts is Beta distributed with a standard
deviation of sqrt(0.9 · 0.1 / (n + 2)); from 223 posts on that is at most 2 points. With fewer, noise costs more than grouping mends."""
LEAST_HELD_OUT = 9
"""Posts of which a 90 % quantile can be taken."""
_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Fixed on `val`."""

    quantiles: dict[str, float]
    """Half width of the 90 % interval in sigmas, by group: `known`, `unknown`, and `known <industry>` where it has posts enough."""
    pair_scale: float
    """Factor on the differences of two scores, in sigmas, that makes P(A > B) honest."""

    def half_widths(self, groups: Sequence[str]) -> np.ndarray:
        """Half width of each post's interval in sigmas, (N,)."""
        return np.array([self.quantiles.get(g, self.quantiles[g.partition(" ")[0]]) for g in groups], dtype=np.float64)


@dataclass(frozen=True)
class HeldOut:
    """Predictions for N posts that no weight was fitted to."""

    mean: np.ndarray
    sigma: np.ndarray
    kpi: np.ndarray
    """What happened."""

    def quantile(self, rows: np.ndarray) -> float:
        """The conformal quantile of the posts `rows`, (N,) bool.

        Raises:
            ValueError: fewer than 9 posts, of which no 90 % quantile can be taken.
        """
        residual = np.sort(np.abs(self.kpi - self.mean)[rows] / self.sigma[rows])
        if len(residual) < LEAST_HELD_OUT:
            raise ValueError(
                f"split val has {len(residual)} posts, a 90 % interval needs at least {LEAST_HELD_OUT}; raise ingest.splits.val_share "
                "or the number of posts"
            )
        chosen = float(residual[min(math.ceil((len(residual) + 1) * LEVEL), len(residual)) - 1])
        return math.nextafter(chosen, math.inf)  # times sigma again it must not round below the post that it was divided from


def groups(briefs: Sequence[Brief], accounts: Collection[str]) -> list[str]:
    """`known <industry>` or `unknown <industry>` for each brief; without the industry where the feed has none.

    Args:
        briefs: N posts.
        accounts: those of the training posts.
    """
    seen = frozenset(accounts)
    return [f"{KNOWN if b.account in seen else UNKNOWN} {b.industry}".strip() for b in briefs]


def check(group: Sequence[str]) -> None:
    """See before a training whether its intervals can be calibrated afterwards.

    Args:
        group: of the posts of split val, as `groups` names them.

    Raises:
        ValueError: too few posts of known accounts.
    """
    count = sum(g.partition(" ")[0] == KNOWN for g in group)
    if count < LEAST_HELD_OUT:
        raise ValueError(
            f"split val has {count} posts of accounts that are trained on, a 90 % interval needs at least {LEAST_HELD_OUT}; "
            "raise ingest.splits.val_share or the number of posts"
        )


def fit(known: HeldOut, group: Sequence[str], unknown: HeldOut, first: np.ndarray, second: np.ndarray) -> Calibration:
    """Quantiles and pair scale on held-out posts.

    Args:
        known: posts of split val, scored with their accounts.
        group: of each of them, as `groups` names them; those of unknown accounts do not count.
        unknown: the same posts, scored as those of accounts that training has not seen.
        first, second: (M,) row numbers of comparable pairs (one account, one period) among `known`.

    Raises:
        ValueError: fewer than 9 posts of known accounts, or in all.
    """
    names = np.array(group, dtype=object)
    of_known = np.array([g.partition(" ")[0] == KNOWN for g in group], dtype=bool)
    rows = {KNOWN: of_known} | {g: names == g for g in sorted(set(names[of_known])) if (names == g).sum() >= LEAST_POSTS}
    quantiles = {g: known.quantile(at) for g, at in rows.items()} | {UNKNOWN: unknown.quantile(np.full(len(unknown.kpi), True))}
    won = known.kpi[first] > known.kpi[second]
    scales = np.geomspace(0.05, 8, 120)
    losses = [_log_loss(_beats(known.mean, known.sigma, first, second, s), won) for s in scales] if len(won) else [0.0]
    return Calibration(quantiles, pair_scale=float(scales[int(np.argmin(losses))]) if len(won) else 1.0)


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
