"""The description of least expected error: what to answer where one answer is scored against one picture.

A single draw from the model is as noisy as a single picture. Minimum Bayes risk decoding (Kumar & Byrne 2004) draws
several descriptions and answers with the candidate that agrees best with all of them on average, under the published
metrics; no truth is looked at. Colors, tones and objects are scored by separate metrics, so each part has its own
candidates: those of the draws, and their averages, which no single draw can be. The caption is the one of the draw that
agrees best with the chosen parts.
"""

from collections.abc import Sequence

import numpy as np

from boig.language.describe import tidy, unit_tones
from boig.language.metrics import coverage_rmse, rgb_distance, set_iou
from boig.verbalizer.form import MAX_COLORS, ColorShare, ObjectBox, Verbalization

_THINNEST = 0.01  # of a side: what `tidy` makes of a box without width


def consensus(draws: Sequence[Verbalization], odds: dict[str, float] | None = None) -> Verbalization:
    """The candidate of least expected error; a single draw is returned as it is.

    Args:
        draws: of one brief, by `boig.language.describe.draw`.
        odds: probability that a description lists each color; None counts the draws.

    Raises:
        ValueError: no draws.
    """
    if not draws:
        raise ValueError("no draws to agree on")
    if len(draws) == 1:
        return draws[0]
    colors = max(_color_candidates(draws, odds), key=lambda c: sum(color_gain(c, d) for d in draws))
    labels = max(sorted({_labels(d) for d in draws}), key=lambda c: sum(set_iou(c, _labels(d)) for d in draws))
    tones = unit_tones(np.mean([d.tones for d in draws], axis=0).tolist())
    chosen = Verbalization(colors, tones, tuple(_typical(label, draws) for label in labels), "")
    nearest = max(draws, key=lambda d: color_gain(colors, d) + set_iou(labels, _labels(d)))
    return tidy(Verbalization(chosen.colors, chosen.tones, chosen.objects, nearest.caption))


def _color_candidates(draws: Sequence[Verbalization], odds: dict[str, float] | None) -> list[tuple[ColorShare, ...]]:
    """Color lists: the m likeliest names with their expected coverage, 0 where not listed, for each m; without odds each draw's own too.

    With odds a draw's own list is no candidate: it would win by agreeing with itself, and nothing else speaks for it.
    """
    seen: dict[str, list[float]] = {}
    for draw in draws:
        for color in draw.colors:
            seen.setdefault(color.name, []).append(color.coverage)
    every = [share for shares in seen.values() for share in shares]
    shares = {name: float(np.mean(seen.get(name, every))) for name in (odds if odds and every else seen)}  # when it is listed
    chance = odds or {name: len(found) / len(draws) for name, found in seen.items()}
    ranked = sorted(shares, key=lambda name: (-chance[name], -shares[name], name))
    means = [ColorShare(name, round(chance[name] * shares[name], 2)) for name in ranked[:MAX_COLORS]]
    likeliest = [tuple(means[:m]) for m in range(1, len(means) + 1)]
    return likeliest if odds and likeliest else [*likeliest, *(d.colors for d in draws)]


def color_gain(colors: tuple[ColorShare, ...], draw: Verbalization) -> float:
    """Color IoU less coverage RMSE less RGB distance, if the draw were the truth."""
    names, others = [c.name for c in colors], [c.name for c in draw.colors]
    guess = Verbalization(colors, (0.0, 0.0, 0.0), (), "")
    return set_iou(names, others) - coverage_rmse(guess, draw) - rgb_distance(names, others)


def _labels(draw: Verbalization) -> tuple[str, ...]:
    return tuple(sorted({o.label for o in draw.objects}))


def _typical(label: str, draws: Sequence[Verbalization]) -> ObjectBox:
    """The box of least expected error, of the largest object of that label in each draw.

    The median of the centers; the area that errs least relative to those of the draws, which is smaller than their median,
    since a small object is missed by more times its area; the median of the shapes.
    """
    boxes = np.array([max((o for o in d.objects if o.label == label), key=lambda o: o.area).box for d in draws if label in _labels(d)])
    low, high = boxes[:, :2], boxes[:, 2:]  # (n, 2) corners
    center, sides = np.median((low + high) / 2, axis=0), np.maximum(high - low, _THINNEST)
    area, shape = _nearest_relative(sides.prod(axis=1)), float(np.median(sides[:, 0] / sides[:, 1]))
    wide = min(1.0, np.sqrt(area * shape))
    half = np.array([wide, min(1.0, area / wide)]) / 2
    center = np.clip(center, half, 1 - half)
    x0, y0, x1, y1 = (round(float(v), 2) for v in np.concatenate([center - half, center + half]))
    return ObjectBox(label, (x0, y0, x1, y1))


def _nearest_relative(sizes: np.ndarray) -> float:
    """Which of n sizes s has the least sum of |s − t| / t over all t: their median, weighted by 1 / t."""
    ascending = np.sort(sizes)
    weight = np.cumsum(1 / ascending)
    return float(ascending[np.searchsorted(weight, weight[-1] / 2)])
