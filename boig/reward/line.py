"""From nats per token to KPI points: a straight line fitted on split val."""

from dataclasses import dataclass

import numpy as np

_FOLDS = 5


@dataclass(frozen=True)
class Line:
    """Design specification in KPI points: intercept + slope · nats per token."""

    intercept: float
    slope: float
    sigma: float
    """Standard deviation of the KPI around the line on `val`."""

    @classmethod
    def fit(cls, nats: np.ndarray, kpi: np.ndarray) -> "Line":
        """Least squares over N posts, (N,) each; never falling, since more likely under a high KPI must not mean a lower one."""
        spread = float(nats.var())
        slope = max(float(np.cov(nats, kpi, bias=True)[0, 1]) / spread, 0.0) if spread > 0 else 0.0
        intercept = float(kpi.mean() - slope * nats.mean())
        return cls(intercept, slope, float(np.sqrt(np.mean((kpi - intercept - slope * nats) ** 2))))

    def points(self, nats: np.ndarray) -> np.ndarray:
        """KPI points, of the shape of `nats`."""
        return self.intercept + self.slope * nats


def crossed(nats: np.ndarray, kpi: np.ndarray, of: np.ndarray) -> np.ndarray:
    """KPI points of the posts of val by lines that were fitted to others of them, so that conformal intervals can be taken from them.

    Args:
        nats: (N,) of the posts, as the line is fitted to them.
        kpi: (N,) of the posts.
        of: (N,) of the same posts, perhaps scored otherwise, as without their accounts.
    """
    points, fold = np.zeros(len(of)), np.arange(len(of)) % _FOLDS
    for number in np.unique(fold):
        points[fold == number] = Line.fit(nats[fold != number], kpi[fold != number]).points(of[fold == number])
    return points
