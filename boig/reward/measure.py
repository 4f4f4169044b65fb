"""The numbers of the reward table: how well scores order posts, and how honest their uncertainty is."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import rankdata

from boig.evaluation import bootstrap
from boig.evaluation.bootstrap import Estimate, tidy
from boig.reward import calibration
from boig.reward.calibration import Calibration


@dataclass(frozen=True)
class Truth:
    """What happened to the posts of one split."""

    kpi: np.ndarray
    """(N,) 0–100."""
    accounts: list[str]
    first: np.ndarray
    """(M,) comparable pairs, see `comparable`."""
    second: np.ndarray


def comparable(accounts: Sequence[str], period: np.ndarray, kpi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of one account and one period with different KPI: two arrays (M,) of row numbers."""
    cells: dict[tuple[str, int], list[int]] = {}
    for row, key in enumerate(zip(accounts, period.tolist(), strict=True)):
        cells.setdefault(key, []).append(row)
    found = [(a, b) for rows in cells.values() for a, b in combinations(rows, 2) if kpi[a] != kpi[b]]
    both = np.array(found, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def ordering(mean: np.ndarray, truth: Truth, seed: int) -> dict[str, Estimate]:
    """Pearson, Spearman, Spearman of ranks within the account, and share of comparable pairs in the right order (ties count half).

    A split without comparable pairs has no `pair_accuracy`.
    """
    out = {
        "pearson": bootstrap.pearson(mean, truth.kpi, truth.accounts, seed=seed),
        "spearman": bootstrap.spearman(mean, truth.kpi, truth.accounts, seed=seed),
        "spearman_within": bootstrap.pearson(
            _ranks_within(mean, truth.accounts), _ranks_within(truth.kpi, truth.accounts), truth.accounts, seed=seed
        ),
    }
    if len(truth.first):
        right = np.sign(mean[truth.first] - mean[truth.second]) * np.sign(truth.kpi[truth.first] - truth.kpi[truth.second])
        found = bootstrap.estimate((right + 1) / 2, [truth.accounts[i] for i in truth.first], seed=seed)
        out["pair_accuracy"] = _of_pairs(found, truth)
    return out


def _of_pairs(found: Estimate, truth: Truth) -> Estimate:
    """A share of pairs; of one account alone its interval says nothing: the pairs of few posts are not independent."""
    one = len(set(truth.accounts)) == 1
    return Estimate(mean=found["mean"], lo=0.0, hi=1.0, n=found["n"]) if one else found


def ahead(one: np.ndarray, other: np.ndarray, truth: Truth, seed: int) -> Estimate:
    """Spearman of one model minus that of another on the same posts, (N,) scores each, resampled together.

    A constant score, such as the account mean for accounts never seen, has no rank information and counts as 0.
    """

    def difference(a: np.ndarray, b: np.ndarray, kpi: np.ndarray) -> float:
        return _spearman(a, kpi) - _spearman(b, kpi)

    return bootstrap.statistic(difference, (one, other, truth.kpi), truth.accounts, seed=seed)


def all_pairs(mean: np.ndarray, truth: Truth, seed: int) -> Estimate | None:
    """Share of all pairs of one account's posts, with different KPI, in the right order (ties count half); None without such pairs.

    `pair_accuracy` of `ordering` is over pairs of one period, which are the ones that training compares; the feed tells what its law
    reaches over all pairs of an account, and only this number can be set against that.
    """
    names = np.array(truth.accounts)
    right, total = [], []
    for account in np.unique(names):
        ours, kpi = mean[names == account], truth.kpi[names == account]
        a, b = np.triu_indices(len(kpi), 1)
        sign = np.sign(kpi[a] - kpi[b])
        right.append(float(((np.sign(ours[a] - ours[b]) * sign + 1) / 2)[sign != 0].sum()))
        total.append(float((sign != 0).sum()))
    if not sum(total):
        return None
    found = bootstrap.ratio(right, total, np.unique(names).tolist(), seed=seed)
    return _of_pairs(Estimate(mean=found["mean"], lo=found["lo"], hi=found["hi"], n=int(sum(total))), truth)


def errors_together(one: np.ndarray, other: np.ndarray, truth: Truth, seed: int) -> Estimate:
    """Pearson of two models' errors, (N,) scores each on the KPI's scale.

    Noise of likes is in both errors, so even two perfect predictors would be at 1; models that share no mistake are near the
    share of noise in their errors.
    """
    return bootstrap.pearson(truth.kpi - one, truth.kpi - other, truth.accounts, seed=seed)


def honesty(points: np.ndarray, sigma: np.ndarray, group: Sequence[str], truth: Truth, fitted: Calibration, seed: int) -> dict:
    """Coverage and width of the conformal 90 % interval, the same by group, and the calibration error of P(A > B) where there are pairs.

    Args:
        points, sigma: (N,) score and uncertainty in KPI points.
        group: of each post, as `calibration.groups` names them.
        truth: of the same posts.
        fitted: on split val.
        seed: of the resamples.
    """
    half = fitted.half_widths(group) * sigma
    lo, hi = np.clip(points - half, 0, 100), np.clip(points + half, 0, 100)
    inside = ((truth.kpi >= lo) & (truth.kpi <= hi)).astype(float)
    names, accounts = np.array(group, dtype=object), np.array(truth.accounts, dtype=object)

    def over(rows: np.ndarray) -> dict[str, Estimate]:
        return {
            "coverage_90": bootstrap.estimate(inside[rows], accounts[rows].tolist(), seed=seed),
            "interval_width": bootstrap.estimate((hi - lo)[rows], accounts[rows].tolist(), seed=seed),
        }

    out: dict = over(np.full(len(names), True)) | {"coverage_by_group": {g: over(names == g) for g in sorted(set(group))}}
    if len(truth.first):
        p = calibration.beats(points, sigma, truth.first, truth.second, fitted)
        won = (truth.kpi[truth.first] > truth.kpi[truth.second]).astype(float)
        pairs = [truth.accounts[i] for i in truth.first]
        found = bootstrap.statistic(calibration.calibration_error, (p, won), pairs, seed=seed, draws=500)
        out["ece"] = _of_pairs(_reflected(found), truth)
    return out


def _reflected(found: Estimate) -> Estimate:
    """Interval of a number that noise makes larger, and each resample once more: by the basic bootstrap, down to 0."""
    mean = found["mean"]
    lo, hi = max(0.0, 2 * mean - found["hi"]), max(mean, 2 * mean - found["lo"])
    return Estimate(mean=mean, lo=tidy(min(lo, mean)), hi=tidy(hi), n=found["n"])


def matching(own: np.ndarray, other: np.ndarray, accounts: Sequence[str], seed: int) -> dict[str, Estimate]:
    """Mean score of true and of mismatched pairs, and how often the true one is above the mismatched one of its brief (ties count half).

    Args:
        own: (M,) scores of posts with their own pictures.
        other: (M,) scores of the same posts with pictures of another product.
        accounts: (M,) of the posts.
        seed: of the resamples.
    """
    return {
        "matched": bootstrap.estimate(own, accounts, seed=seed),
        "mismatched": bootstrap.estimate(other, accounts, seed=seed),
        "mismatch_auc": bootstrap.estimate((np.sign(own - other) + 1) / 2, accounts, seed=seed),
    }


def averaged(draws: Sequence[dict[str, Estimate]]) -> dict:
    """Metrics of one model trained several times, averaged; and the standard deviation of its Pearson between the trainings.

    All draws share their resamples, so the averaged ends are, if anything, too far apart for the averaged mean.
    """
    out: dict = {
        metric: Estimate(
            mean=tidy(float(np.mean([d[metric]["mean"] for d in draws]))),
            lo=tidy(float(np.mean([d[metric]["lo"] for d in draws]))),
            hi=tidy(float(np.mean([d[metric]["hi"] for d in draws]))),
            n=draws[0][metric]["n"],
        )
        for metric in draws[0]
    }
    if len(draws) > 1:
        out["pearson_spread"] = tidy(float(np.std([d["pearson"]["mean"] for d in draws], ddof=1)))
    return out


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    x, y = (rankdata(v) - (len(v) + 1) / 2 for v in (a, b))
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread > 0 else 0.0


def _ranks_within(values: np.ndarray, accounts: Sequence[str]) -> np.ndarray:
    """Mid-rank of each value among its account's, 0–1; one half where the account has one post."""
    out, names = np.full(len(values), 0.5), np.asarray(accounts)
    for account in np.unique(names):
        rows = names == account
        out[rows] = (rankdata(values[rows]) - 0.5) / rows.sum()
    return out
