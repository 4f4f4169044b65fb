"""Hypothesis strategies of what the verbalizer speaks of."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from boig.verbalizer.form import ColorShare, ObjectBox, Verbalization
from boig.verbalizer.palette import NAMES

HUNDREDTH = st.integers(0, 100).map(lambda v: v / 100)


def pictures(count: int = 3, side: int = 12) -> st.SearchStrategy[np.ndarray]:
    """uint8 (count, side, side, 3)."""
    return arrays(np.uint8, (count, side, side, 3))


def boxes() -> st.SearchStrategy[tuple[float, float, float, float]]:
    """Boxes with an area, in hundredths."""
    spans = st.tuples(st.integers(0, 99), st.integers(1, 100)).map(lambda p: (min(p[0], 99), min(100, p[0] + p[1])))
    return st.tuples(spans, spans).map(lambda p: (p[0][0] / 100, p[1][0] / 100, p[0][1] / 100, p[1][1] / 100))


def objects(label: st.SearchStrategy[str] = st.text(min_size=1, max_size=12)) -> st.SearchStrategy[ObjectBox]:
    """Objects with a confidence of 1, as text says them."""
    return st.builds(ObjectBox, label, boxes())


def tones() -> st.SearchStrategy[tuple[float, float, float]]:
    """Three hundredths that sum to one."""
    return (
        st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted).map(lambda c: (c[0] / 100, (c[1] - c[0]) / 100, (100 - c[1]) / 100))
    )


def verbalizations() -> st.SearchStrategy[Verbalization]:
    """Anything that the form can say."""
    colors = st.lists(st.builds(ColorShare, st.sampled_from(NAMES), HUNDREDTH), max_size=5).map(tuple)
    return st.builds(Verbalization, colors, tones(), st.lists(objects(), max_size=4).map(tuple), st.text(max_size=40))
