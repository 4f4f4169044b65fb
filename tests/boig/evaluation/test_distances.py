"""Distances between sets are zero for equal sets, grow with the gap, and diversity counts what is different."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boig.evaluation import distances

accounts = [f"a{i % 7}" for i in range(140)]


def normal(seed: int, shift: float = 0.0, n: int = 140, d: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


def test_fid_of_a_set_with_itself_is_zero():
    assert distances.fid(normal(0), normal(0)) == pytest.approx(0, abs=1e-6)


@given(st.floats(0.1, 5), st.integers(0, 5))
@settings(max_examples=20)
def test_fid_of_a_shift_is_its_square(shift, seed):
    x = normal(seed)
    assert distances.fid(x, x + shift) == pytest.approx(12 * shift**2, rel=1e-5)


def test_fid_of_known_gaussians():
    x = normal(0, n=200_000, d=2)
    assert distances.fid(x, 3 * normal(1, n=200_000, d=2), ridge=0.0) == pytest.approx(2 * (3 - 1) ** 2, rel=0.02)


def test_kid_is_unbiased_near_zero_and_positive_for_another_set():
    values = [distances.compare(normal(2 * i), normal(2 * i + 1), accounts, accounts).kid["mean"] for i in range(20)]
    assert abs(np.mean(values)) < 2 * np.std(values) / np.sqrt(20) + 1e-3
    far = distances.compare(normal(0), normal(1, shift=1.0), accounts, accounts)
    near = distances.compare(normal(0), normal(1), accounts, accounts)
    assert far.kid["lo"] > near.kid["hi"]
    assert far.mmd["lo"] > near.mmd["hi"]
    assert far.fid["mean"] > near.fid["mean"]
    assert near.mmd["lo"] <= near.mmd["mean"] <= near.mmd["hi"]
    assert near.fid["n"] == 140


def test_vendi_counts_different_pictures():
    assert distances.vendi(np.ones((9, 4))) == pytest.approx(1)
    assert distances.vendi(np.eye(9)) == pytest.approx(9)
    assert distances.vendi(np.repeat(np.eye(5), 3, axis=0)) == pytest.approx(5)


@given(st.integers(2, 30), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=30)
def test_vendi_is_between_one_and_n(n, d, seed):
    assert 1 - 1e-6 <= distances.vendi(normal(seed, n=n, d=d)) <= n + 1e-6


def test_dead_features_are_dropped_and_all_dead_is_an_error():
    x, y = normal(0), normal(1)
    wide = [np.hstack([v, np.full((140, 3), 7.0)]) for v in (x, y)]
    assert distances.compare(*wide, accounts, accounts) == distances.compare(x, y, accounts, accounts)
    with pytest.raises(ValueError, match="features are constant"):
        distances.compare(np.ones((5, 3)), np.ones((5, 3)), accounts[:5], accounts[:5])
    with pytest.raises(ValueError, match="at least 2"):
        distances.compare(x[:1], y, accounts[:1], accounts)


def test_one_account_has_the_width_of_its_pictures():
    one = distances.compare(normal(0), normal(1), ["a"] * 140, ["a"] * 140)
    many = distances.compare(normal(0), normal(1), ["a"] * 140, [f"b{i}" for i in range(140)])
    assert one == many
    assert one.kid["lo"] < one.kid["mean"] < one.kid["hi"]
    assert 1 <= one.vendi["lo"] < one.vendi["mean"] < one.vendi["hi"]
