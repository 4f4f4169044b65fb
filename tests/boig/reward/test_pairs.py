import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from boig.reward.pairs import draw, periods


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300), st.integers(0, 5)), min_size=1, max_size=40), st.integers(0, 9))
def test_each_post_once_and_pairs_only_within_account_and_period(posts: list[tuple[str, int, int]], seed: int):
    accounts, days, kpi = [p[0] for p in posts], np.array([p[1] for p in posts]), np.array([float(p[2]) for p in posts])
    period = periods(days, 60)
    pairs = draw(accounts, period, kpi, np.random.default_rng(seed))
    seen = [row for better, worse, _ in pairs for row in (better, worse)]
    assert len(seen) == len(posts) + len(posts) % 2
    assert set(seen) == set(range(len(posts)))
    for better, worse, comparable in pairs:
        assert kpi[better] >= kpi[worse]
        if comparable:
            assert accounts[better] == accounts[worse]
            assert period[better] == period[worse]
            assert kpi[better] > kpi[worse]


def test_passes_differ_and_seeds_repeat():
    accounts, period, kpi = ["a"] * 20, np.zeros(20, int), np.arange(20.0)
    rng = np.random.default_rng(0)
    first, second = draw(accounts, period, kpi, rng), draw(accounts, period, kpi, rng)
    assert first != second
    assert first == draw(accounts, period, kpi, np.random.default_rng(0))
    assert all(comparable for _, _, comparable in first)
