"""Named colors and tones of pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boig.verbalizer.palette import NAMES, PALETTE, name_indices, rgb_to_lab, shares
from tests.boig.verbalizer.strategies import pictures


def test_there_are_forty_names_far_enough_apart_to_be_told():
    lab = rgb_to_lab(np.array(list(PALETTE.values())))
    apart = np.sqrt(((lab[:, None] - lab[None]) ** 2).sum(-1)) + np.eye(40) * 100
    assert len(NAMES) == 40
    assert apart.min() > 5  # a just noticeable difference is about 2.3


def test_lab_of_known_colors():
    # sRGB primaries in CIE Lab under D65, as any color calculator gives them
    expected = [(53.24, 80.09, 67.20), (87.73, -86.18, 83.18), (32.30, 79.19, -107.86), (100.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
    found = rgb_to_lab(np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)]))
    assert np.abs(found - np.array(expected)).max() < 0.05


def test_each_centroid_has_its_own_name():
    swatches = np.array(list(PALETTE.values()), np.uint8)[:, None, None, :]
    assert [NAMES[i] for i in name_indices(swatches).ravel()] == list(NAMES)


@given(pictures())
def test_shares_sum_to_one(batch):
    by_name, by_tone = shares(batch)
    assert by_name.shape == (3, 40)
    assert by_tone.shape == (3, 3)
    assert np.allclose(by_name.sum(1), 1)
    assert np.allclose(by_tone.sum(1), 1)
    assert by_name.min() >= 0
    assert by_tone.min() >= 0


@given(pictures(), st.randoms(use_true_random=False))
def test_the_order_of_pixels_does_not_matter(batch, random):
    order = list(range(144))
    random.shuffle(order)
    mixed = batch.reshape(3, 144, 3)[:, order].reshape(batch.shape)
    for plain, moved in zip(shares(batch), shares(mixed), strict=True):
        assert (plain == moved).all()


@given(pictures())
def test_a_picture_does_not_depend_on_its_batch(batch):
    together, alone = shares(batch)[0], np.concatenate([shares(batch[i : i + 1])[0] for i in range(3)])
    assert (together == alone).all()


@pytest.mark.parametrize("bad", [np.zeros((2, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 4), np.uint8)])
def test_other_arrays_are_refused_with_their_shape(bad):
    with pytest.raises(ValueError, match=str(bad.shape[0])):
        shares(bad)
