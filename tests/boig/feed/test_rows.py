"""Which of several observations is used, and that no row is lost."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boig.feed.rows import Deleted, Failed, Item, Row, Skipped, parse_kpi, parse_time, post_ids, settle

START = datetime(2024, 1, 1, tzinfo=UTC)


def row(origin: str, observed_day: int = 0, likes: float = 1, picture: str = "p.png") -> Row:
    return Row("f:1", origin, "a", "", START, START + timedelta(days=observed_day), "", likes, picture)


ITEMS = st.lists(
    st.one_of(
        st.builds(row, st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 9), st.sampled_from(["p.png", "q.png"])),
        st.builds(Failed, st.just("f:1"), st.just(""), st.just("broken_line"), st.just("")),
        st.builds(Skipped, st.sampled_from("abc"), st.just("retweet")),
        st.builds(Deleted, st.sampled_from("abcd")),
    ),
    max_size=30,
)


@given(ITEMS)
def test_every_row_is_counted_once(items: list[Item]) -> None:
    intake = settle(items)
    assert intake.rows_in == sum(not isinstance(i, Deleted) for i in items)
    gone = {i.origin for i in items if isinstance(i, Deleted)}
    assert not gone & {r.origin for r in intake.rows}
    assert len({(r.origin, r.picture) for r in intake.rows}) == len(intake.rows)


def test_the_latest_observation_wins_in_any_order() -> None:
    for items in ([row("a", 1, 5), row("a", 9, 8), row("a", 1, 5)], [row("a", 9, 8), row("a", 1, 5), row("a", 9, 8)]):
        intake = settle(items)
        assert [r.kpi_raw for r in intake.rows] == [8]
        assert intake.skipped.total() == 2


def test_several_pictures_of_a_post_get_numbered_ids() -> None:
    assert post_ids(["7", "8", "7"]) == ["7_1", "8", "7_2"]


@pytest.mark.parametrize("value", ["2024-01-01T00:00:00Z", "2024-01-01 00:00:00", 1704067200, "1704067200", "2024-01-01T02:00:00+02:00"])
def test_times(value: object) -> None:
    assert parse_time(value) == START


@pytest.mark.parametrize("value", ["", "yesterday", None, float("nan"), 1e30, "99999999999999999999"])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(value)


@pytest.mark.parametrize("value", ["", "many", None, float("nan"), "inf", True])
def test_what_is_no_kpi(value: object) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        parse_kpi(value)
