"""Detector and captioner put together; rounding that keeps sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from boig.verbalizer.captioner import TemplateCaptioner
from boig.verbalizer.form import MAX_COLORS, MAX_OBJECTS, ObjectBox, Verbalization
from boig.verbalizer.verbalizer import Verbalizer, largest, plain, round_tones, top_colors
from tests.boig.verbalizer.strategies import objects, pictures


class Corner:
    """A detector that always finds two things, the smaller one first."""

    labels, model_id = ("cup", "text"), "corner@1"

    def detect(self, pictures):
        return [(ObjectBox("text", (0.1, 0.9, 0.3, 1.0), 0.9), ObjectBox("cup", (0.0, 0.0, 0.5, 0.50001), 0.8))] * len(pictures)


def shares_of(count: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.int64, count, elements=st.integers(0, 4096)).filter(lambda a: a.sum() > 0).map(lambda a: a / a.sum())


@given(st.lists(shares_of(3), min_size=1, max_size=3))
def test_rounded_tones_sum_to_one_and_move_by_less_than_a_hundredth(tones):
    for rounded, exact in zip(round_tones(np.array(tones)), tones, strict=True):
        assert sum(round(v * 100) for v in rounded) == 100
        assert all(v == round(v, 2) and abs(v - t) < 0.01 for v, t in zip(rounded, exact, strict=True))


@given(st.lists(shares_of(40), min_size=1, max_size=3), st.sampled_from([0.0, 0.02, 0.1]))
def test_colors_are_the_largest_ones_in_order(coverage, least):
    for colors, row in zip(top_colors(np.array(coverage), least), coverage, strict=True):
        values = [c.coverage for c in colors]
        assert len(colors) == min(MAX_COLORS, sum(np.floor(row * 100 + 0.5) >= max(1, least * 100)))
        assert values == sorted(values, reverse=True)
        assert all(v >= least and v == round(v, 2) and v > 0 for v in values)
        assert len({c.name for c in colors}) == len(colors)


@given(st.lists(objects(), max_size=8))
def test_objects_are_the_largest_ones_in_order_with_an_area(found):
    kept = largest(tuple(found))
    areas = [round(o.area, 6) for o in kept]
    assert len(kept) == min(len(found), MAX_OBJECTS)
    assert areas == sorted(areas, reverse=True)
    assert all(a > 0 for a in areas)


def test_a_box_that_rounds_to_a_line_is_dropped():
    assert largest((ObjectBox("cup", (0.5, 0.5, 0.501, 0.9)),)) == ()


@given(pictures(side=16))
def test_a_verbalization_survives_its_own_text_and_depends_on_its_picture_alone(batch):
    verbalizer = Verbalizer(Corner(), TemplateCaptioner(), 0.02)
    said = verbalizer.verbalize(batch)
    assert said == [verbalizer.verbalize(batch[i : i + 1])[0] for i in range(len(batch))]
    for one in said:
        back = Verbalization.from_json(one.to_json())
        assert back.to_json() == one.to_json()
        assert (back.colors, back.tones, back.caption) == (one.colors, one.tones, one.caption)
        assert [o.label for o in one.objects] == ["cup", "text"]
        assert one.caption.endswith(", with text")


def test_captions_lose_what_would_need_escaping():
    assert plain('a "red"\n cup \\ saucer') == "a 'red' cup / saucer"


def test_no_pictures_give_no_verbalizations():
    assert Verbalizer(Corner(), TemplateCaptioner(), 0.02).verbalize(np.zeros((0, 8, 8, 3), np.uint8)) == []


def test_other_arrays_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        Verbalizer(Corner(), TemplateCaptioner(), 0.02).verbalize(np.zeros((1, 8, 8, 3)))
