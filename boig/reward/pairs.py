"""Which posts are compared: two of one account and one period, drawn anew for each pass over the posts."""

from collections.abc import Sequence

import numpy as np


def periods(days: np.ndarray, length: int) -> np.ndarray:
    """Number of the period of `length` days that each day is in, counted from the first day. (N,) → (N,) int64."""
    return ((np.asarray(days) - np.min(days)) // length).astype(np.int64)


def draw(accounts: Sequence[str], period: np.ndarray, kpi: np.ndarray, rng: np.random.Generator) -> list[tuple[int, int, bool]]:
    """A pass over all posts as pairs; each post is in exactly one pair (one post in two where their number is odd).

    Args:
        accounts: (N,) of each post.
        period: (N,) as `periods` numbers them.
        kpi: (N,) of each post.
        rng: of the drawing.

    Returns:
        (better, worse, comparable) row numbers; `comparable` is False where no partner of the same account and period with
        another KPI was left: such a pair has the pointwise loss only.
    """
    order = rng.permutation(len(kpi))
    cells: dict[tuple[str, int], list[int]] = {}
    for row in order:
        cells.setdefault((accounts[row], int(period[row])), []).append(int(row))
    pairs, left = [], []
    for rows in cells.values():
        if len(rows) % 2:
            left.append(rows.pop())
        pairs += [_sorted(a, b, kpi, kpi[a] != kpi[b]) for a, b in zip(rows[::2], rows[1::2], strict=True)]
    if len(left) % 2:
        left.append(int(order[0]))
    pairs += [_sorted(a, b, kpi, False) for a, b in zip(left[::2], left[1::2], strict=True)]
    return [pairs[i] for i in rng.permutation(len(pairs))]


def _sorted(a: int, b: int, kpi: np.ndarray, comparable: bool) -> tuple[int, int, bool]:
    return (a, b, bool(comparable)) if kpi[a] >= kpi[b] else (b, a, bool(comparable))
