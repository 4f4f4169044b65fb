"""Goals of the reward: shares of what the law itself reaches."""

import pytest

from boig.evaluation.goals import goals
from tests.boig.evaluation.fabricated import estimate


def _reward(split: str, **values: float) -> list:
    law = {"ceiling": 0.8, "ceiling_pairs": 0.8}
    row = {"reward": {name: estimate(value) for name, value in values.items()}}
    if split == "test_time":
        row |= {name: {"pearson": estimate(0.1)} for name in ("account_mean", "context_only")}
    return goals({"train_reward": {split: row | law}})


@pytest.mark.parametrize(("split", "share"), [("test_time", 0.90), ("test_account", 0.80)])
def test_pearson_is_held_against_its_share_of_the_ceiling(split: str, share: float):
    above, below = (_reward(split, pearson=0.8 * share + step)[0] for step in (0.001, -0.001))
    assert f"Pearson at least {share:.2f} ×" in above.what
    assert (above.reached, below.reached) == (True, False)


def test_pairs_are_held_against_the_law_on_all_pairs_of_an_account():
    found = [_reward("test_account", pearson=0.7, pair_accuracy_all=value) for value in (0.745, 0.743)]
    reached = [next(g for g in row if "pairs" in g.what).reached for row in found]
    assert reached == [True, False]


def test_metrics_without_the_number_have_no_goal():
    assert not [g for g in _reward("test_account", pearson=0.7, pair_accuracy=0.7) if "pairs" in g.what]
