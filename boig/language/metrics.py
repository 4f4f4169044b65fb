"""How well a predicted verbalization fits the true one: the metrics of paper.md §4, per picture.

The paper names them and gives no formulas; the definitions are ours and stand in the docstrings. Names and objects are
matched one to one by the assignment of least total cost.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from boig.verbalizer.form import ObjectBox, Verbalization
from boig.verbalizer.palette import PALETTE

HIGHER_IS_BETTER: dict[str, bool] = {
    "color_iou": True, "color_cosine": True, "color_rgb_distance": False, "coverage_rmse": False, "tone_rmse": False,
    "object_iou": True, "object_cosine": True, "area_error": False, "center_distance": False, "json_valid": True,
}  # fmt: skip
"""Which way each metric points; tables, goals and differences of methods ask here."""
_RGB_DIAGONAL = 441.7  # |white − black|, as the paper's text gives it

Similarity = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""Cosines of the sentence embeddings of two lists of names: (n,), (m,) → (n, m)."""


def compare(predicted: Verbalization | None, true: Verbalization, similarity: Similarity) -> dict[str, float]:
    """All metrics of one picture; NaN where a metric says nothing (no object in common, so no distance).

    Args:
        predicted: None for an output that is not a verbalization: worst values, `json_valid` 0.
        true: what the picture shows.
        similarity: of names, for the two cosine metrics.
    """
    empty = Verbalization((), (0.0, 0.0, 0.0), (), "")
    guess = empty if predicted is None else predicted
    names, true_names = [c.name for c in guess.colors], [c.name for c in true.colors]
    labels, true_labels = [o.label for o in guess.objects], [o.label for o in true.objects]
    area_error, center_distance = _geometry(guess.objects, true.objects)
    return {
        "color_iou": set_iou(names, true_names),
        "color_cosine": _matched_cosine(names, true_names, similarity),
        "color_rgb_distance": rgb_distance(names, true_names),
        "coverage_rmse": coverage_rmse(guess, true),
        "tone_rmse": float(np.sqrt(np.mean(np.square(np.subtract(guess.tones, true.tones))))),
        "object_iou": set_iou(labels, true_labels),
        "object_cosine": _matched_cosine(labels, true_labels, similarity),
        "area_error": area_error,
        "center_distance": center_distance,
        "json_valid": float(predicted is not None),
    }


def ahead(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """By how much our description of a picture is better than theirs, per metric: positive is better for us; NaN where one has none."""
    return {name: ours[name] - theirs[name] if up else theirs[name] - ours[name] for name, up in HIGHER_IS_BETTER.items()}


def set_iou(a: Sequence[str], b: Sequence[str]) -> float:
    """Names in common over names in either; 1 where both are empty."""
    first, second = set(a), set(b)
    return len(first & second) / len(first | second) if first | second else 1.0


def coverage_rmse(a: Verbalization, b: Verbalization) -> float:
    """Root of the mean squared difference of coverage over the names that occur in either; a name not listed covers 0."""
    first, second = ({c.name: c.coverage for c in v.colors} for v in (a, b))
    names = sorted(first.keys() | second.keys())
    return float(np.sqrt(np.mean([(first.get(n, 0.0) - second.get(n, 0.0)) ** 2 for n in names]))) if names else 0.0


def rgb_distance(a: Sequence[str], b: Sequence[str]) -> float:
    """Mean RGB distance of matched colors / 441.7: 0 is equal, 1 is white for black; 1 where only one list is empty."""
    if not a or not b:
        return float(bool(a) != bool(b))
    rgb = [np.array([PALETTE[name] for name in names], dtype=np.float64) for names in (a, b)]
    cost = np.linalg.norm(rgb[0][:, None] - rgb[1][None], axis=-1) / _RGB_DIAGONAL  # (n, m)
    return float(cost[linear_sum_assignment(cost)].mean())


def _matched_cosine(a: Sequence[str], b: Sequence[str], similarity: Similarity) -> float:
    """Mean cosine of matched names; 1 where both lists are empty, 0 where one is."""
    if not a or not b:
        return float(not a and not b)
    cosines = similarity(a, b)  # (n, m)
    return float(cosines[linear_sum_assignment(-cosines)].mean())


def _geometry(found: Sequence[ObjectBox], true: Sequence[ObjectBox]) -> tuple[float, float]:
    """Mean relative area error, and mean distance of centers / diagonal, of objects of the same label matched by center.

    The area error is |found − true| / true area. NaN, NaN where no label is in common.
    """
    errors, distances = [], []
    for label in sorted({o.label for o in true} & {o.label for o in found}):
        ours, theirs = ([o for o in objects if o.label == label] for objects in (found, true))
        cost = np.linalg.norm(_centers(ours)[:, None] - _centers(theirs)[None], axis=-1)  # (n, m)
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            distances.append(cost[i, j] / np.sqrt(2))
            errors.append(abs(ours[i].area - theirs[j].area) / max(theirs[j].area, 1e-4))
    return (float(np.mean(errors)), float(np.mean(distances))) if errors else (float("nan"), float("nan"))


def _centers(objects: Sequence[ObjectBox]) -> np.ndarray:
    """(n, 2) in 0–1."""
    return np.array([((o.box[0] + o.box[2]) / 2, (o.box[1] + o.box[3]) / 2) for o in objects])
