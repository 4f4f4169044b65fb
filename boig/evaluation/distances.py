"""Distances between two sets of pictures, and the diversity of one, in some feature space (see `boig.evaluation.features`).

FID (Heusel et al. 2017), KID (Bińkowski et al. 2018), a Gaussian-kernel MMD as in CMMD (Jayasumana et al. 2024) and the
Vendi score (Friedman & Dieng 2023). Deviations: features are standardized with the mean and spread of the real pictures,
and turned onto their first 64 principal axes, so the numbers compare methods with each other and not with tables elsewhere;
covariances get a ridge, since n is small; KID and MMD use all pairs once instead of random subsets; the Gaussian's width is
the median distance between real pictures.
"""

from dataclasses import dataclass

import numpy as np

from boig.evaluation.bootstrap import Estimate, jackknife

_RIDGE = 1e-3  # of a standardized feature's variance, 1
_DEAD = 1e-6  # spread below which a feature says nothing
_AXES = 64  # well below the few hundred pictures whose covariance is estimated


def standardize(real: np.ndarray, other: np.ndarray, axes: int = _AXES) -> tuple[np.ndarray, np.ndarray]:
    """Both sets in units of the real pictures' spread, on the real pictures' principal axes. (N, D), (M, D) → (N, d), (M, d).

    Raises:
        ValueError: no feature varies over the real pictures.
    """
    mean, spread = real.mean(0), real.std(0)
    alive = spread > _DEAD
    if not alive.any():
        raise ValueError(f"all {real.shape[1]} features are constant over {len(real)} real pictures; give more, or other features")
    real, other = (real[:, alive] - mean[alive]) / spread[alive], (other[:, alive] - mean[alive]) / spread[alive]
    main = np.linalg.svd(real, full_matrices=False)[2][:axes].T  # (D, d)
    return real @ main, other @ main


def fid(real: np.ndarray, fake: np.ndarray, ridge: float = _RIDGE) -> float:
    """Fréchet distance between the Gaussians fitted to two sets of features, (N, D) and (M, D); biased upwards for small n."""
    gap = ((real.mean(0) - fake.mean(0)) ** 2).sum()
    a, b = (np.atleast_2d(np.cov(x, rowvar=False)) + ridge * np.eye(x.shape[1]) for x in (real, fake))
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # tr sqrt(a b) = tr sqrt(a^½ b a^½), which is symmetric: no complex square root needed.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    return float(max(gap + np.trace(a) + np.trace(b) - 2 * cross, 0.0))


def polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """KID's kernel (x·y / D + 1)³: (N, D), (M, D) → (N, M)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N, D), (M, D) → (N, M), never negative."""
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T, 0)


def mmd(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy from the three kernel matrices (N, N), (M, M), (N, M); may be below 0."""
    n, m = xy.shape
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def vendi(features: np.ndarray) -> float:
    """Effective number of different pictures: exp of the entropy of the eigenvalues of the cosine kernel / n. (N, D) → 1 … N."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    small = unit.T @ unit if unit.shape[1] < len(unit) else unit @ unit.T  # same non-zero eigenvalues
    values = np.linalg.eigvalsh(small / len(unit))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


@dataclass(frozen=True)
class Distances:
    """How far a set of generated pictures is from real ones, and how diverse it is."""

    fid: Estimate
    kid: Estimate
    mmd: Estimate
    vendi: Estimate


def compare(real: np.ndarray, fake: np.ndarray, real_accounts: list[str], fake_accounts: list[str]) -> Distances:
    """All four numbers with their delete-one-account intervals; an account leaves both sets at once.

    Where all generated pictures are of one account they are left out one by one: nothing can be said about other accounts then.

    Args:
        real: (N, D) raw features of real pictures, none of them shown for the same posts as `fake`.
        fake: (M, D) raw features of the pictures to judge.
        real_accounts, fake_accounts: (N,) and (M,) whose pictures they are.

    Raises:
        ValueError: fewer than two pictures in a set, or features without any spread.
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"{len(real)} real and {len(fake)} generated pictures; distances need at least 2 of each")
    real, fake = standardize(real.astype(np.float64), fake.astype(np.float64))
    if len(set(fake_accounts)) == 1:
        fake_accounts = [f"picture {i}" for i in range(len(fake))]
    owners, posers = np.array(real_accounts, dtype=str), np.array(fake_accounts, dtype=str)
    cubic = [polynomial_kernel(a, b) for a, b in ((real, real), (fake, fake), (real, fake))]
    gaps = [squared_distances(a, b) for a, b in ((real, real), (fake, fake), (real, fake))]
    width = np.median(gaps[0][np.triu_indices(len(real), 1)])
    gaussian = [np.exp(-g / max(2 * width, 1e-12)) for g in gaps]

    def kept(out: str | None) -> tuple[np.ndarray, np.ndarray]:
        a, b = np.flatnonzero(owners != out), np.flatnonzero(posers != out)
        # An account that is all there is cannot be left out.
        return (a if len(a) > 1 else np.arange(len(owners))), (b if len(b) > 1 else np.arange(len(posers)))

    def of_kernels(kernels: list[np.ndarray], out: str | None) -> float:
        a, b = kept(out)
        return mmd(kernels[0][np.ix_(a, a)], kernels[1][np.ix_(b, b)], kernels[2][np.ix_(a, b)])

    return Distances(
        fid=jackknife(lambda out: fid(real[kept(out)[0]], fake[kept(out)[1]]), fake_accounts, floor=0.0),
        kid=jackknife(lambda out: of_kernels(cubic, out), fake_accounts),
        mmd=jackknife(lambda out: of_kernels(gaussian, out), fake_accounts),
        vendi=jackknife(lambda out: vendi(fake[kept(out)[1]]), fake_accounts, floor=1.0),
    )
