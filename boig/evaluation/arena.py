"""Who wins: win rates over another method, and ratings of all methods from the judge's preferences, brief by brief.

Ratings are Bradley–Terry strengths fitted at once over all pairs (scikit-learn's logistic regression without intercept),
on Elo's scale: 400 points are odds of ten to one, the mean of the methods is 1000. The order of play does not matter, as it
would with sequential Elo. Intervals come from redrawing accounts.
"""

from itertools import combinations

import numpy as np
from sklearn.linear_model import LogisticRegression

from boig.evaluation.bootstrap import Estimate, by_cluster, estimate

_ELO = 400 / np.log(10)
_CENTER = 1000.0
_PRIOR = 1000.0  # inverse L2 strength: only keeps a method that wins every time finite
_DRAWS = 300  # each draw is a fit


def preferred(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 where a is preferred, 0 where b is, ½ where they tie. (N,), (N,) → (N,) float64."""
    return (np.sign(np.asarray(a, np.float64) - np.asarray(b, np.float64)) + 1) / 2


def win_rate(a: np.ndarray, b: np.ndarray, accounts: list[str], *, seed: int) -> Estimate:
    """How often the judge prefers a's picture to b's picture for the same brief."""
    return estimate(preferred(a, b), accounts, seed=seed)


def strengths(wins: np.ndarray) -> np.ndarray:
    """Bradley–Terry ratings from wins[i, j], how often i beat j. (M, M) → (M,) on Elo's scale, mean 1000."""
    count = len(wins)
    pairs = np.array(list(combinations(range(count), 2)))  # (P, 2)
    if not len(pairs):
        return np.full(count, _CENTER)
    design = np.zeros((len(pairs), count))
    design[np.arange(len(pairs)), pairs[:, 0]], design[np.arange(len(pairs)), pairs[:, 1]] = 1, -1
    weight = np.concatenate([wins[pairs[:, 0], pairs[:, 1]], wins[pairs[:, 1], pairs[:, 0]]])
    label = np.repeat([1, 0], len(pairs))
    played = weight > 0
    if len(set(label[played])) < 2:  # one side won every game: mirror a vanishing share, the fit needs both outcomes
        weight, played = weight + 1e-3, np.ones_like(played)
    fit = LogisticRegression(fit_intercept=False, C=_PRIOR).fit(np.tile(design, (2, 1))[played], label[played], weight[played])
    beta = fit.coef_[0]
    return _CENTER + _ELO * (beta - beta.mean())


def ratings(scores: dict[str, np.ndarray], accounts: list[str], *, seed: int, draws: int = _DRAWS) -> dict[str, Estimate]:
    """Ratings of all methods from scores per brief.

    Args:
        scores: per method (N,), the judge's score of its picture of each brief, in the same order of briefs.
        accounts: (N,).
        seed: of the bootstrap.
        draws: resamples; each is a fit.

    Raises:
        ValueError: methods scored on different numbers of briefs.
    """
    lengths = {name: len(values) for name, values in scores.items()}
    if set(lengths.values()) != {len(accounts)}:
        raise ValueError(f"every method needs a score for each of the {len(accounts)} briefs, got {lengths}")
    columns = np.stack([np.asarray(v, np.float64) for v in scores.values()])  # (M, N)
    games = preferred(columns[:, None], columns[None])  # (M, M, N)

    def fit(of_cluster: np.ndarray) -> np.ndarray:
        return np.stack([strengths(w) for w in of_cluster])

    flat = games.reshape(-1, games.shape[-1]).T  # (N, M*M)
    results = by_cluster(lambda sums: fit(sums.reshape(-1, len(scores), len(scores))), flat, accounts, seed=seed, draws=draws)
    return dict(zip(scores, results, strict=True))
