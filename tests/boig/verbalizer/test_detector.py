"""Boxes: overlap, suppression, and how found objects are matched with true ones."""

from hypothesis import given
from hypothesis import strategies as st

from boig.verbalizer.detector import iou, suppress
from boig.verbalizer.form import ObjectBox
from boig.verbalizer.matching import match
from tests.boig.verbalizer.strategies import boxes, objects


def flipped(box):
    return (1 - box[2], box[1], 1 - box[0], box[3])


@given(boxes(), boxes())
def test_overlap_is_symmetric_between_zero_and_one_and_survives_a_flip(a, b):
    assert 0 <= iou(a, b) <= 1 + 1e-9
    assert iou(a, b) == iou(b, a)
    assert abs(iou(a, b) - iou(flipped(a), flipped(b))) < 1e-9


@given(boxes())
def test_a_box_overlaps_itself_fully(box):
    assert abs(iou(box, box) - 1) < 1e-9


def test_overlap_of_known_boxes():
    assert iou((0, 0, 0.5, 0.5), (0.5, 0, 1, 0.5)) == 0
    assert abs(iou((0, 0, 0.5, 1), (0.25, 0, 0.75, 1)) - 1 / 3) < 1e-9


@given(st.lists(objects(), max_size=6), st.floats(0, 1))
def test_what_is_kept_overlaps_little_and_what_is_dropped_overlaps_something_kept(found, limit):
    kept = suppress(found, limit)
    assert all(iou(a.box, b.box) <= limit for i, a in enumerate(kept) for b in kept[:i])
    assert all(o in kept or any(iou(o.box, k.box) > limit for k in kept) for o in found)


@given(st.lists(objects(), max_size=6), st.randoms(use_true_random=False))
def test_suppression_does_not_depend_on_the_order(found, random):
    mixed = list(found)
    random.shuffle(mixed)
    assert suppress(found, 0.5) == suppress(mixed, 0.5)


@given(st.lists(objects(), max_size=4))
def test_the_truth_matches_itself(truth):
    kept = suppress(truth, 0.2)
    found = match(kept, kept)
    assert all(found.right)
    assert all(v > 0.999 for v in found.ious)
    assert found.spurious == 0


def test_wrong_missing_and_spurious_objects_are_told_apart():
    cup, shoe = ObjectBox("cup", (0.0, 0.0, 0.4, 0.4)), ObjectBox("shoe", (0.6, 0.6, 1.0, 1.0))
    found = match((cup, shoe), (ObjectBox("lamp", (0.0, 0.0, 0.4, 0.4)), ObjectBox("cup", (0.0, 0.6, 0.3, 0.9))))
    assert found.right == (False, False)
    assert found.ious == (1.0, 0.0)
    assert found.spurious == 1
