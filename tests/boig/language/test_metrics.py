"""The metrics of paper.md §4 on cases worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given

from boig.language import metrics
from boig.verbalizer.form import ColorShare, ObjectBox, Verbalization
from tests.boig.language.strategies import relaxed, verbalizations


def same(a, b):
    """Cosine 1 for equal names, else 0."""
    return np.array([[float(x == y) for y in b] for x in a])


TRUE = Verbalization(
    (ColorShare("White", 0.6), ColorShare("Red", 0.4)),
    (0.5, 0.5, 0.0),
    (ObjectBox("cup", (0.0, 0.0, 0.5, 0.5)), ObjectBox("cake", (0.5, 0.5, 1.0, 1.0))),
    "",
)
GUESS = Verbalization(
    (ColorShare("White", 0.6), ColorShare("Black", 0.1)),
    (0.2, 0.8, 0.0),
    (ObjectBox("cup", (0.5, 0.0, 1.0, 0.25)), ObjectBox("lamp", (0.0, 0.0, 1.0, 1.0))),
    "",
)


def test_by_hand():
    found = metrics.compare(GUESS, TRUE, same)
    assert found["color_iou"] == pytest.approx(1 / 3)
    assert found["color_cosine"] == pytest.approx(0.5)
    assert found["color_rgb_distance"] == pytest.approx(math.dist((15, 15, 16), (214, 32, 36)) / 441.7 / 2)
    assert found["coverage_rmse"] == pytest.approx(math.sqrt((0.4**2 + 0.1**2) / 3))
    assert found["tone_rmse"] == pytest.approx(math.sqrt((0.3**2 + 0.3**2) / 3))
    assert found["object_iou"] == pytest.approx(1 / 3)
    assert found["object_cosine"] == pytest.approx(0.5)
    assert found["area_error"] == pytest.approx(0.5)
    assert found["center_distance"] == pytest.approx(math.dist((0.75, 0.125), (0.25, 0.25)) / math.sqrt(2))
    assert found["json_valid"] == 1


@relaxed
@given(verbalizations())
def test_the_truth_is_perfect(verbalization):
    found = metrics.compare(verbalization, verbalization, same)
    for name, better_up in metrics.HIGHER_IS_BETTER.items():
        if not (name in ("area_error", "center_distance") and not verbalization.objects):
            assert found[name] == pytest.approx(1.0 if better_up else 0.0, abs=1e-6), name


@relaxed
@given(verbalizations(), verbalizations())
def test_ranges(a, b):
    found = metrics.compare(a, b, same)
    assert list(found) == list(metrics.HIGHER_IS_BETTER)
    assert all(math.isnan(v) or v >= 0 for v in found.values())
    assert all(found[n] <= 1 for n in ("color_iou", "color_rgb_distance", "coverage_rmse", "object_iou"))


@relaxed
@given(verbalizations(), verbalizations())
def test_nothing_is_ahead_of_the_truth(a, b):
    perfect, guess = metrics.compare(b, b, same), metrics.compare(a, b, same)
    found = metrics.ahead(perfect, guess)
    assert list(found) == list(metrics.HIGHER_IS_BETTER)
    assert all(math.isnan(v) or v >= -1e-6 for v in found.values())
    assert all(math.isnan(v) or v == -found[name] for name, v in metrics.ahead(guess, perfect).items())


def test_nothing_is_worst():
    found = metrics.compare(None, TRUE, same)
    assert (found["json_valid"], found["color_iou"], found["object_iou"], found["color_rgb_distance"]) == (0, 0, 0, 1)
    assert math.isnan(found["center_distance"])


def test_two_of_a_label_are_matched_by_place():
    left, right = ObjectBox("cup", (0.0, 0.0, 0.2, 0.2)), ObjectBox("cup", (0.8, 0.8, 1.0, 1.0))
    a, b = (Verbalization((), (0, 0, 0), objects, "") for objects in ((left, right), (right, left)))
    assert metrics.compare(a, b, same)["center_distance"] == 0
