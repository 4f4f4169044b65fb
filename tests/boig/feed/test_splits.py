"""Splits: disjoint, never through a group, stable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boig.feed.splits import NEAR_DUPLICATE, assign, hold_out
from tests.boig.feed.rules import SPLITS

ROWS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 50), st.integers(0, 30)), min_size=8, max_size=120)


def columns(rows: list[tuple[int, int, int]]) -> tuple[list[str], list[str], np.ndarray, list[str]]:
    rows = rows + [(a, 0, 100 + a) for a in range(8)]  # every account occurs
    accounts = [f"account{a}" for a, _, _ in rows]
    return (
        accounts,
        [f"industry{a % 3}" for a, _, _ in rows],
        np.array([t for _, t, _ in rows], dtype=np.int64),
        [f"g{g}" for _, _, g in rows],
    )


@given(ROWS)
def test_a_group_is_in_one_split_and_test_accounts_are_nowhere_else(rows: list[tuple[int, int, int]]) -> None:
    account, industry, time_us, group = columns(rows)
    split = assign(account, industry, time_us, group, SPLITS)
    held = hold_out(dict(zip(account, industry, strict=True)), SPLITS)
    places: dict[str, set[str]] = {}
    for a, g, s in zip(account, group, split, strict=True):
        if s != NEAR_DUPLICATE:
            places.setdefault(g, set()).add(s)
            assert (a in held) == (s == "test_account")
    assert all(len(found) == 1 for found in places.values())


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[tuple[int, int, int]], random) -> None:
    account, industry, time_us, group = columns(rows)
    split = assign(account, industry, time_us, group, SPLITS)
    order = list(range(len(account)))
    random.shuffle(order)
    shuffled = assign([account[i] for i in order], [industry[i] for i in order], time_us[order], [group[i] for i in order], SPLITS)
    assert shuffled == [split[i] for i in order]


def many(count: int = 4000) -> tuple[list[str], list[str], np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    number = rng.integers(0, 20, count)
    return [f"a{n}" for n in number], [f"i{n % 5}" for n in number], rng.integers(0, 10**9, count), [f"p{i}" for i in range(count)]


def test_shares_are_as_asked() -> None:
    account, industry, time_us, group = many()
    split = np.array(assign(account, industry, time_us, group, SPLITS))
    others = split != "test_account"
    assert (split[others] == "test_time").mean() == pytest.approx(0.2, abs=0.01)
    rest = split[others & (split != "test_time")]
    assert (rest == "judge").mean() == pytest.approx(0.3, abs=0.03)
    assert (rest == "val").mean() == pytest.approx(0.1, abs=0.02)
    assert time_us[split == "test_time"].min() >= time_us[others & (split != "test_time")].max()


def test_new_posts_move_no_old_one_between_train_judge_and_val() -> None:
    account, industry, time_us, group = many()
    first = assign(account[:3000], industry[:3000], time_us[:3000], group[:3000], SPLITS)
    then = assign(account, industry, time_us, group, SPLITS)[:3000]
    both = [(a, b) for a, b in zip(first, then, strict=True) if {a, b} <= {"train", "judge", "val"}]
    assert len(both) > 1000
    assert all(a == b for a, b in both)


def test_test_accounts_spread_over_the_industries() -> None:
    accounts = {f"a{i}": f"i{i % 4}" for i in range(16)}
    held = hold_out(accounts, SPLITS.model_copy(update={"test_accounts": 4}))
    assert {accounts[name] for name in held} == {"i0", "i1", "i2", "i3"}


def test_a_near_duplicate_of_training_leaves_the_test_splits() -> None:
    account, industry, time_us, group = many()
    split = assign(account, industry, time_us, group, SPLITS)
    old, new = split.index("train"), split.index("test_time")
    group[new] = group[old]
    again = assign(account, industry, time_us, group, SPLITS)
    assert (again[old], again[new]) == ("train", NEAR_DUPLICATE)


def test_too_few_accounts_is_an_error() -> None:
    with pytest.raises(ValueError, match="test_accounts is 2 but the feed has 3 accounts"):
        hold_out({"a": "", "b": "", "c": ""}, SPLITS)


def test_a_feed_of_one_account_holds_out_its_newest_posts_alone() -> None:
    account, industry, time_us, group = many()
    split = np.array(assign(["a"] * len(account), industry, time_us, group, SPLITS.model_copy(update={"test_accounts": 0})))
    assert set(split) == {"train", "judge", "val", "test_time"}
    assert time_us[split == "test_time"].min() >= time_us[split != "test_time"].max()
