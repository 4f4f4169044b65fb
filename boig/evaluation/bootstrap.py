"""Estimates with 95 % intervals that respect accounts: posts of one account are not independent.

Whole accounts (clusters) are resampled with replacement (Davison & Hinkley 1997, §3.8) and the interval is the *expanded*
percentile interval of Hesterberg (2015, "What Teachers Should Know About the Bootstrap", §5.3): the plain percentile
interval is too narrow by sqrt((c − 1) / c) and ignores Student's t, which matters since a feed has few accounts; the
expanded levels mend both to first order. With a single cluster, rows are resampled instead, since nothing can be said
about other accounts then.

Everything is a function of cluster counts, one row of weights per draw, so that no draw copies data. Numbers come back
with six significant digits: more would be noise of the bootstrap, and metrics files should not differ by round-off.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

import numpy as np
from scipy.stats import norm, rankdata, t

DRAWS = 2000  # error of a 95 % bound about 3 % of the interval's width
LEVEL = 0.95
_CHUNK = 4_000_000  # weights held at a time, 32 MB
Column = Sequence[float] | np.ndarray
"""One number per row, (N,)."""


class Estimate(TypedDict):
    """A number as metrics files hold it."""

    mean: float
    lo: float
    """Lower end of the 95 % interval."""
    hi: float
    n: int
    """Rows, not clusters."""


def tidy(value: float) -> float:
    """Six significant digits."""
    return float(f"{value:.6g}")


def _rows(arrays: Sequence[Column], clusters: Sequence) -> tuple[list[np.ndarray], np.ndarray]:
    """The columns as float64 and the cluster number of each row.

    Raises:
        ValueError: no rows, unequal lengths, or a value that is not finite.
    """
    columns = [np.asarray(a, dtype=np.float64) for a in arrays]
    if any(c.ndim != 1 or len(c) != len(clusters) for c in columns):
        shapes = [c.shape for c in columns]
        raise ValueError(f"values of shape {shapes} with {len(clusters)} clusters; give one number and one cluster per row")
    if len(clusters) == 0:
        raise ValueError("no rows to estimate from; leave the metric out where a split is empty")
    bad = sum(int((~np.isfinite(c)).sum()) for c in columns)
    if bad:
        raise ValueError(f"{bad} of {len(clusters)} values are not finite; drop those rows first")
    _, code = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    return columns, code if code.max() > 0 else np.arange(len(code))


def _weights(count: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `count` clusters is drawn: float64 (≤ draws, count) in chunks, each row sums to `count`."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // count)
    for start in range(0, draws, step):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(step, draws - start)).astype(np.float64)


def _interval(samples: np.ndarray, point: float, rows: int, clusters: int) -> Estimate:
    """Expanded percentile interval; draws in which the statistic is undefined (NaN) do not count."""
    samples = samples[np.isfinite(samples)]
    lo = hi = point
    if len(samples) and clusters > 1:
        tail = norm.cdf(-np.sqrt(clusters / (clusters - 1)) * t.ppf((1 + LEVEL) / 2, clusters - 1))
        lo, hi = np.quantile(samples, (tail, 1 - tail))
    return Estimate(mean=tidy(point), lo=tidy(min(lo, point)), hi=tidy(max(hi, point)), n=rows)


def estimate(values: Column, clusters: Sequence, *, seed: int, draws: int = DRAWS) -> Estimate:
    """The mean of `values` and its 95 % interval.

    Args:
        values: (N,) finite numbers.
        clusters: (N,) the account of each row.
        seed: of the bootstrap; equal inputs give equal estimates.
        draws: resamples.

    Raises:
        ValueError: no rows, unequal lengths, or a value that is not finite.
    """
    return ratio(values, np.ones(len(values)), clusters, seed=seed, draws=draws)


def difference(a: Column, b: Column, clusters: Sequence, *, seed: int, draws: int = DRAWS) -> Estimate:
    """The mean of the paired difference a − b, row by row."""
    if len(a) != len(b):
        raise ValueError(f"a paired difference needs equal lengths, got {len(a)} and {len(b)}")
    return estimate(np.asarray(a, np.float64) - np.asarray(b, np.float64), clusters, seed=seed, draws=draws)


def ratio(a: Column, b: Column, clusters: Sequence, *, seed: int, draws: int = DRAWS) -> Estimate:
    """mean(a) / mean(b), rows resampled together."""
    (x, y), code = _rows((a, b), clusters)
    count = int(code.max()) + 1
    sums = np.stack([np.bincount(code, column, count) for column in (x, y)], axis=1)  # (C, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = np.concatenate([np.divide(*(w @ sums).T) for w in _weights(count, draws, seed)])  # (D,)
        return _interval(samples, float(x.sum() / y.sum()), len(x), count)


def by_cluster(
    fn: Callable[[np.ndarray], np.ndarray], values: np.ndarray, clusters: Sequence, *, seed: int, draws: int = DRAWS
) -> list[Estimate]:
    """Several numbers that depend on the column sums of the rows alone, such as ratings on counts of wins.

    Args:
        fn: from column sums (D, K), one row per draw, to (D, J).
        values: (N, K) finite numbers.
        clusters: (N,) the account of each row.
        seed: of the bootstrap.
        draws: resamples.

    Returns:
        J estimates.
    """
    columns, code = _rows(list(values.T), clusters)
    count = int(code.max()) + 1
    sums = np.stack([np.bincount(code, column, count) for column in columns], axis=1)  # (C, K)
    samples = np.concatenate([fn(w @ sums) for w in _weights(count, draws, seed)])  # (D, J)
    point = fn(sums.sum(0, keepdims=True))[0]
    return [_interval(samples[:, j], float(point[j]), len(code), count) for j in range(len(point))]


def _correlation(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Pearson correlation under each row of weights. x, y: (N,) or (D, N); w: (D, N) → (D,)."""
    total = w.sum(1, keepdims=True)
    dx = x - (w * x).sum(1, keepdims=True) / total
    dy = y - (w * y).sum(1, keepdims=True) / total
    spread = (w * dx**2).sum(1) * (w * dy**2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, (w * dx * dy).sum(1) / np.sqrt(spread), np.nan)


def pearson(x: Column, y: Column, clusters: Sequence, *, seed: int, draws: int = DRAWS) -> Estimate:
    """Pearson correlation of two columns; 0 where one of them is constant (no rank information, rather than no number)."""
    (a, b), code = _rows((x, y), clusters)
    a, b = a - a.mean(), b - b.mean()  # the sums below lose no digits
    count = int(code.max()) + 1
    moments = np.stack([np.bincount(code, v, count) for v in (np.ones_like(a), a, b, a * a, b * b, a * b)], axis=1)  # (C, 6)

    def of(sums: np.ndarray) -> np.ndarray:
        n, sa, sb, saa, sbb, sab = sums.T
        spread = (saa - sa**2 / n) * (sbb - sb**2 / n)
        floor = 1e-20 * max(float(moments[:, 3].sum() * moments[:, 4].sum()), 1e-300)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(spread > floor, (sab - sa * sb / n) / np.sqrt(np.maximum(spread, floor)), np.nan)

    samples = np.concatenate([of(w @ moments) for w in _weights(count, draws, seed)])
    point = float(of(moments.sum(0, keepdims=True))[0])
    return _interval(samples, point if np.isfinite(point) else 0.0, len(a), count)


def _resampled_ranks(values: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Mid-ranks of each row inside each resample. values: (N,); w: (D, N) copies of each row → (D, N)."""
    order = np.argsort(values, kind="stable")
    _, start, group = np.unique(values[order], return_index=True, return_inverse=True)
    size = np.add.reduceat(w[:, order], start, axis=1)  # (D, G) copies in each tie group
    middle = np.cumsum(size, axis=1) - (size - 1) / 2
    ranks = np.empty_like(w)
    ranks[:, order] = middle[:, group]
    return ranks


def spearman(x: Column, y: Column, clusters: Sequence, *, seed: int, draws: int = DRAWS) -> Estimate:
    """Spearman rank correlation, ranked anew in each resample; 0 where a column is constant."""
    (a, b), code = _rows((x, y), clusters)
    count = int(code.max()) + 1
    samples = []
    for by_cluster in _weights(count, draws, seed):
        for start in range(0, len(by_cluster), step := max(1, 1_000_000 // len(a))):
            w = by_cluster[start : start + step][:, code]  # (d, N)
            samples.append(_correlation(_resampled_ranks(a, w), _resampled_ranks(b, w), w))
    point = float(_correlation(rankdata(a), rankdata(b), np.ones((1, len(a))))[0])
    return _interval(np.concatenate(samples), point if np.isfinite(point) else 0.0, len(a), count)


def statistic(fn: Callable[..., float], arrays: Sequence[Column], clusters: Sequence, *, seed: int, draws: int = DRAWS) -> Estimate:
    """Any statistic of whole rows: `fn(*columns)` runs once per draw on a resampled copy. Slower than the functions above.

    Args:
        fn: from columns of equal length to a number; NaN where it is undefined for a draw.
        arrays: columns, (N,) each.
        clusters: (N,) the account of each row.
        seed: of the bootstrap.
        draws: resamples.

    Raises:
        ValueError: no rows, unequal lengths, a value that is not finite, or `fn` is undefined for the data itself.
    """
    columns, code = _rows(arrays, clusters)
    count = int(code.max()) + 1
    samples = []
    for w in (row for chunk in _weights(count, draws, seed) for row in chunk):
        rows = np.repeat(np.arange(len(code)), w[code].astype(np.int64))
        samples.append(float(fn(*(column[rows] for column in columns))))
    point = float(fn(*columns))
    if not np.isfinite(point):
        raise ValueError(f"the statistic is {point} on {len(code)} rows; leave the metric out where it is undefined")
    return _interval(np.array(samples), point, len(code), count)


def jackknife(fn: Callable[[str | None], float], clusters: Sequence, *, floor: float = -np.inf) -> Estimate:
    """A number of a whole set of pictures (a distance, a diversity), with the interval of the delete-one-account jackknife.

    Resampling with replacement would bias such numbers, since a picture drawn twice is a neighbor of itself; leaving
    one account out at a time has no duplicates. The interval is Student's, with clusters − 1 degrees of freedom.

    Args:
        fn: the number without the rows of the given account; with all rows for None.
        clusters: (N,) the account of each row.
        floor: the least possible value, where the interval ends.
    """
    point = float(fn(None))
    labels = sorted(set(map(str, clusters)))
    half, count = 0.0, len(labels)
    if count > 1:
        without = np.array([fn(label) for label in labels])
        error = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
        half = float(error * t.ppf((1 + LEVEL) / 2, count - 1))
    return Estimate(mean=tidy(point), lo=tidy(max(floor, point - half)), hi=tidy(point + half), n=len(clusters))
