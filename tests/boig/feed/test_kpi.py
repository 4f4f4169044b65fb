"""Ranks within a rolling window, and buckets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boig.feed.kpi import above_floor, buckets, normalize, percentiles, windows
from tests.boig.feed.rules import KPI

DAY_US = 86_400_000_000
LIKES = st.lists(st.integers(0, 50), min_size=1, max_size=40)


def days(count: int, step: int = 10) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * step * DAY_US


def nobody(count: int) -> np.ndarray:
    """No post is held out."""
    return np.zeros(count, dtype=bool)


@given(LIKES, LIKES, LIKES)
def test_held_out_posts_are_in_no_label_but_their_own(older: list[int], newer: list[int], others: list[int]) -> None:
    time_us, newest = days(len(older) + len(newer)), np.arange(len(older) + len(newer)) >= len(older)
    values = np.array(older + newer, dtype=float)
    changed = np.array(older + [(others * len(newer))[i] for i in range(len(newer))], dtype=float)
    before, after = (percentiles(v, time_us, KPI, newest)[: len(older)] for v in (values, changed))
    assert np.array_equal(before, after)
    assert np.array_equal(before, percentiles(values[: len(older)], time_us[: len(older)], KPI))


@given(LIKES, st.integers(1, 40))
def test_ranks_do_not_change_under_an_increasing_transform(likes: list[int], step: int) -> None:
    values, time_us = np.array(likes, dtype=float), days(len(likes), step)
    assert np.array_equal(percentiles(values, time_us, KPI), percentiles(np.expm1(values / 7) * 3 + 2, time_us, KPI))


@given(LIKES, st.integers(0, 1000))
def test_newer_posts_never_change_the_rank_of_an_older_one(likes: list[int], new: int) -> None:
    values = np.array(likes, dtype=float)
    before = percentiles(values, days(len(values)), KPI)
    after = percentiles(np.append(values, new), days(len(values) + 1), KPI)[:-1]
    settled = slice(KPI.window_posts - 1, None)  # but for the first posts, which have no past
    assert np.array_equal(before[settled], after[settled]) or len(values) < KPI.window_posts


@given(LIKES)
def test_ranks_lie_strictly_between_0_and_100_and_ties_share(likes: list[int]) -> None:
    values = np.array(likes, dtype=float)
    ranks = percentiles(values, np.zeros(len(values), dtype=np.int64), KPI)
    assert ((ranks > 0) & (ranks < 100)).all()
    for value in np.unique(values):
        assert len(set(ranks[values == value])) == 1
    assert ranks.mean() == pytest.approx(50)


def test_a_window_holds_the_days_before_and_at_least_some_posts() -> None:
    start, end = windows(days(30), KPI)
    assert (start[20], end[20]) == (10, 21)  # 100 days back, itself included
    assert (start[2], end[2]) == (0, 5)  # no past yet: ranked among the first five
    start, end = windows(days(30, step=300), KPI)
    assert (start[20], end[20]) == (16, 21)  # a sparse account: its five latest


def test_accounts_are_ranked_apart_in_any_order() -> None:
    account = np.array(["a", "b"] * 10)
    values = np.where(account == "a", 1000.0, 1.0) + np.arange(20)
    kpi = normalize(account, days(20), values, KPI, nobody(20))
    shuffled = np.random.default_rng(0).permutation(20)
    assert np.array_equal(normalize(account[shuffled], days(20)[shuffled], values[shuffled], KPI, nobody(20)), kpi[shuffled])
    assert kpi[account == "a"].mean() == pytest.approx(kpi[account == "b"].mean())


def test_a_constant_kpi_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"constant \(3\)"):
        normalize(np.array(["a"] * 4), days(4), np.full(4, 3.0), KPI, nobody(4))
    with pytest.raises(ValueError, match="within every account"):
        normalize(np.array(["a", "a", "b", "b"]), days(4), np.array([1.0, 1, 2, 2]), KPI, nobody(4))


def test_a_given_kpi_is_taken_as_it_is_if_it_is_on_the_scale() -> None:
    rule = KPI.model_copy(update={"scale": "given"})
    account, values = np.array(["a", "b"]), np.array([7.0, 93.0])
    assert normalize(account, days(2), values, rule, nobody(2)).tolist() == [7, 93]
    with pytest.raises(ValueError, match="outside 0–100"):
        normalize(account, days(2), values + 10, rule, nobody(2))


def test_buckets_need_the_percentile_and_the_floor() -> None:
    rule = KPI.model_copy(update={"floor_low": 20, "floor_medium": 30, "floor_high": 40})
    kpi, likes = np.array([95.0, 95, 95, 70, 70, 10]), np.array([41.0, 40, 30, 31, 30, 99])
    assert buckets(kpi, likes, rule) == ["high", "medium", "low", "medium", "low", "low"]
    assert buckets(kpi, likes, KPI) == ["high", "high", "high", "medium", "medium", "low"]
    assert above_floor(np.array([20.0, 21.0]), rule).tolist() == [False, True]
    assert above_floor(np.array([-5.0, 0.0]), KPI).all()
