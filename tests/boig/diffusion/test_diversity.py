"""Novelty of a picture, variety of a set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boig.diffusion.diversity import novelty, palette, variety
from boig.verbalizer.palette import PALETTE

COLORS = list(PALETTE.values())
names = st.lists(st.integers(0, len(COLORS) - 1), min_size=1, max_size=12)


def plain(*which: int) -> np.ndarray:
    """(N, 8, 8, 3) pictures of one palette color each."""
    return np.stack([np.full((8, 8, 3), COLORS[i], np.uint8) for i in which])


@given(st.integers(1, 6), st.integers(1, len(COLORS) - 1))
def test_novelty_knows_the_odd_one_out(same, other):
    values = novelty(palette(plain(*[0] * same, other)))
    assert values[-1] == pytest.approx(np.log(same + 1))
    assert values[0] == pytest.approx(-np.log(same / (same + 1)))


@given(names, st.integers(0, 100))
def test_variety_counts_pictures(which, seed):
    rows = palette(plain(*which))
    value = variety(rows)
    assert 1 - 1e-9 <= value <= len(set(which)) + 1e-9
    assert variety(np.random.default_rng(seed).permutation(rows)) == pytest.approx(value)
    assert variety(np.concatenate([rows, rows])) == pytest.approx(value)  # copies add nothing


def test_variety_of_equally_many_colors():
    assert variety(palette(plain(*range(14)))) == pytest.approx(14)
    assert variety(palette(plain(*[3] * 7, *[9] * 7))) == pytest.approx(2)


def test_a_palette_is_of_length_one():
    pictures = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    assert np.linalg.norm(palette(pictures), axis=1) == pytest.approx(np.ones(5))
