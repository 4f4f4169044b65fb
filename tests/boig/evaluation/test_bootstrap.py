"""Account-clustered intervals: right centre, right coverage, same bytes."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from boig.evaluation import bootstrap

finite = st.floats(-1e6, 1e6, allow_nan=False)


def sample(rng: np.random.Generator, accounts: int, posts: int) -> tuple[np.ndarray, np.ndarray]:
    """Values with an account effect as large as the noise; the true mean is 0."""
    clusters = np.repeat(np.arange(accounts), posts)
    return rng.normal(size=accounts)[clusters] + rng.normal(size=len(clusters)), clusters


@given(st.lists(st.tuples(finite, st.integers(0, 4)), min_size=1, max_size=30), st.integers(0, 9))
@settings(max_examples=60)
def test_mean_inside_and_deterministic(rows, seed):
    values, clusters = zip(*rows, strict=True)
    one = bootstrap.estimate(values, clusters, seed=seed, draws=50)
    assert one == bootstrap.estimate(values, clusters, seed=seed, draws=50)
    assert one["mean"] == pytest.approx(np.mean(values), rel=1e-5, abs=1e-3)
    assert one["lo"] <= one["mean"] <= one["hi"]
    assert one["n"] == len(values)


@pytest.mark.parametrize(("accounts", "least"), [(5, 0.86), (24, 0.90)])
def test_covers_the_truth_about_95_percent_of_the_time(accounts, least):
    rng = np.random.default_rng(0)
    hits = [(e := bootstrap.estimate(*sample(rng, accounts, 20), seed=i, draws=400))["lo"] <= 0 <= e["hi"] for i in range(300)]
    assert least <= np.mean(hits) <= 0.995


def test_rows_as_if_independent_would_be_too_narrow():
    values, clusters = sample(np.random.default_rng(3), 24, 40)
    honest = bootstrap.estimate(values, clusters, seed=0)
    naive = bootstrap.estimate(values, np.arange(len(values)), seed=0)
    assert honest["hi"] - honest["lo"] > 2 * (naive["hi"] - naive["lo"])


def test_correlations_equal_scipy_and_plain_resampling():
    rng = np.random.default_rng(1)
    clusters = rng.integers(0, 12, 300)
    x = rng.integers(0, 6, 300) + 0.0  # many ties
    y = x + rng.normal(size=300)
    for fast, slow in ((bootstrap.pearson, pearsonr), (bootstrap.spearman, spearmanr)):
        quick = fast(x, y, clusters, seed=5, draws=200)
        plain = bootstrap.statistic(lambda a, b, f=slow: f(a, b).statistic, (x, y), clusters, seed=5, draws=200)
        assert quick["mean"] == pytest.approx(slow(x, y).statistic, rel=1e-5)
        assert quick == pytest.approx(plain, rel=1e-4)


def test_ratio_and_difference():
    a, b, clusters = [2.0, 4.0, 6.0], [1.0, 2.0, 3.0], ["x", "y", "z"]
    assert bootstrap.ratio(a, b, clusters, seed=0) == {"mean": 2.0, "lo": 2.0, "hi": 2.0, "n": 3}
    assert bootstrap.difference(a, b, clusters, seed=0)["mean"] == 2.0


def test_one_cluster_resamples_rows_and_one_row_has_no_width():
    values = np.arange(50.0)
    one = bootstrap.estimate(values, ["a"] * 50, seed=0)
    assert one == bootstrap.estimate(values, [f"{i:02d}" for i in range(50)], seed=0)
    assert one["lo"] < one["mean"] < one["hi"]
    assert bootstrap.estimate([3.0], ["a"], seed=0) == {"mean": 3.0, "lo": 3.0, "hi": 3.0, "n": 1}


def test_constant_column_correlates_zero():
    assert bootstrap.pearson([1.0] * 9, range(9), range(9), seed=0)["mean"] == 0
    assert bootstrap.spearman([1.0] * 9, range(9), range(9), seed=0)["mean"] == 0


@pytest.mark.parametrize(
    ("values", "clusters", "match"),
    [([], [], "no rows"), ([1.0], ["a", "b"], "one number and one cluster"), ([1.0, np.nan], ["a", "b"], "1 of 2 values are not finite")],
)
def test_bad_input(values, clusters, match):
    with pytest.raises(ValueError, match=match):
        bootstrap.estimate(values, clusters, seed=0)


def test_quick_enough():
    rng = np.random.default_rng(0)
    x, y, clusters = rng.normal(size=1000), rng.normal(size=1000), rng.integers(0, 24, 1000)
    start = time.process_time()
    bootstrap.estimate(x, clusters, seed=0)
    bootstrap.pearson(x, y, clusters, seed=0)
    bootstrap.spearman(x, y, clusters, seed=0)
    assert time.process_time() - start < 3


def test_jackknife_of_a_mean_is_the_standard_error():
    values, clusters = np.arange(12.0), np.arange(12)
    one = bootstrap.jackknife(lambda out: float(values[clusters.astype(str) != out].mean()), clusters)
    half = 2.2009851600916384 * values.std(ddof=1) / np.sqrt(12)  # t(0.975, 11)
    assert (one["mean"], one["n"]) == (5.5, 12)
    assert one["hi"] - one["mean"] == pytest.approx(half, rel=1e-4)
    assert bootstrap.jackknife(lambda out: 2.0, ["a", "a"]) == {"mean": 2.0, "lo": 2.0, "hi": 2.0, "n": 2}
