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


def consensus(draws: Sequence[Verbalization]) -> Verbalization:
    """The candidate of least expected error; a single draw is returned as it is.

    Args:
        draws: of one brief, by `boig.language.describe.describe` with temperature above 0.

    Raises:
        ValueError: no draws.
    """
    if not draws:
        raise ValueError("no draws to agree on")
    if len(draws) == 1:
        return draws[0]
    colors = max(_color_candidates(draws), key=lambda c: sum(_color_gain(c, d) for d in draws))
    labels = max(sorted({_labels(d) for d in draws}), key=lambda c: sum(set_iou(c, _labels(d)) for d in draws))
    tones = unit_tones(np.mean([d.tones for d in draws], axis=0).tolist())
    chosen = Verbalization(colors, tones, tuple(_typical(label, draws) for label in labels), "")
    nearest = max(draws, key=lambda d: _color_gain(colors, d) + set_iou(labels, _labels(d)))
    return tidy(Verbalization(chosen.colors, chosen.tones, chosen.objects, nearest.caption))


def _color_candidates(draws: Sequence[Verbalization]) -> list[tuple[ColorShare, ...]]:
    """Color lists: each draw's own, and the m most frequent names with their mean coverage over all draws, for each m."""
    seen: dict[str, list[float]] = {}
    for draw in draws:
        for color in draw.colors:
            seen.setdefault(color.name, []).append(color.coverage)
    by_count = sorted(seen, key=lambda name: (-len(seen[name]), -sum(seen[name]), name))
    means = [ColorShare(name, round(sum(seen[name]) / len(draws), 2)) for name in by_count[:MAX_COLORS]]
    averages = [tuple(means[:m]) for m in range(1, len(means) + 1)]
    return [*averages, *(d.colors for d in draws)]


def _color_gain(colors: tuple[ColorShare, ...], draw: Verbalization) -> float:
    """Color IoU less coverage RMSE less RGB distance, if the draw were the truth."""
    names, others = [c.name for c in colors], [c.name for c in draw.colors]
    guess = Verbalization(colors, (0.0, 0.0, 0.0), (), "")
    return set_iou(names, others) - coverage_rmse(guess, draw) - rgb_distance(names, others)


def _labels(draw: Verbalization) -> tuple[str, ...]:
    return tuple(sorted({o.label for o in draw.objects}))


def _typical(label: str, draws: Sequence[Verbalization]) -> ObjectBox:
    """The median box of the largest object of that label."""
    boxes = [max((o for o in d.objects if o.label == label), key=lambda o: o.area).box for d in draws if label in _labels(d)]
    x0, y0, x1, y1 = (round(float(v), 2) for v in np.median(boxes, axis=0))
    return ObjectBox(label, (x0, y0, x1, y1))
