"""What a reward has to beat: the account's mean, gradient boosting on everything but the picture, caption or picture alone."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from boig.brief import Brief
from boig.reward.rows import Posts
from boig.verbalizer.activation_detector import ActivationDetector

Predictor = Callable[[Sequence[Brief]], np.ndarray]
"""Briefs → expected KPI, (N,)."""


def account_mean(train: Posts) -> Predictor:
    """Mean KPI of the account's training posts; of all posts for an account never seen."""
    by_account: dict[str, list[float]] = defaultdict(list)
    for brief, kpi in zip(train.briefs, train.kpi, strict=True):
        by_account[brief.account].append(float(kpi))
    means, overall = {a: float(np.mean(v)) for a, v in by_account.items()}, float(train.kpi.mean())
    return lambda briefs: np.array([means.get(b.account, overall) for b in briefs])


def context_gbm(train: Posts, seed: int) -> Predictor:
    """Gradient boosting on account, industry, time and the length of the caption."""
    names = {field: sorted({getattr(b, field) for b in train.briefs})[:254] for field in ("account", "industry")}

    def columns(briefs: Sequence[Brief]) -> np.ndarray:
        return np.array([
            [
                *(names[f].index(getattr(b, f)) if getattr(b, f) in names[f] else np.nan for f in ("account", "industry")),
                b.created_at.hour, b.created_at.weekday(), b.created_at.month, b.created_at.timestamp() / 86400,
                len(b.caption), b.caption.count("#"),
            ]
            for b in briefs
        ])  # fmt: skip

    model = HistGradientBoostingRegressor(
        learning_rate=0.05, max_iter=150, min_samples_leaf=20, l2_regularization=1.0, categorical_features=[0, 1], random_state=seed
    ).fit(columns(train.briefs), train.kpi)
    return lambda briefs: model.predict(columns(briefs)) if len(briefs) else np.zeros(0)


def caption_only(train: Posts) -> Predictor:
    """Ridge regression on the caption's words and pairs of words that two captions share; the mean KPI where none is shared."""
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=2, token_pattern=r"\S+"), RidgeCV(np.geomspace(0.1, 300, 12)))
    try:
        model.fit([_text(b) for b in train.briefs], train.kpi)
    except ValueError:  # no vocabulary: few posts, or a language without spaces
        return lambda briefs: np.full(len(briefs), float(train.kpi.mean()))
    return lambda briefs: model.predict([_text(b) for b in briefs]) if len(briefs) else np.zeros(0)


def picture_ridge(pictures: np.ndarray, kpi: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Ridge regression on what an ImageNet MobileNetV2 sees: 1,280 features before its classifier, standardized.

    Args:
        pictures: of split train, uint8 (N, H, W, 3).
        kpi: (N,) 0–100.

    Returns:
        Pictures → expected KPI, (M,).

    Raises:
        FileNotFoundError: the packaged weights are not installed.
    """
    net = ActivationDetector.load(None, 1.0)
    model = make_pipeline(StandardScaler(), RidgeCV(np.geomspace(1, 1e6, 19))).fit(net.features(pictures), kpi)
    return lambda shown: model.predict(net.features(shown)) if len(shown) else np.zeros(0)


def _text(brief: Brief) -> str:
    return brief.caption or "(empty) (empty)"  # a vocabulary needs a word
