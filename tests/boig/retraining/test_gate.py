"""The gate: what passes it, and what each of its questions keeps out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boig.retraining.gate import DECIDING, Posts, ahead, judge
from boig.retraining.line import Guarded, Line, Moved
from boig.retraining.settings import Guards

GUARDS = Guards(diversity=0.9, mismatch=0.05, canary=5.0, unsafe=0.01)
SAME = Guarded(vendi=20.0, mismatch=0.1, unsafe=0.0)
LIKE = Line(SAME)
STILL = (Moved("new", "reward", 3.0, -4.0), Moved("new", "judge", 0.0, 1.0))


def posts(gain: float = 0.5, seed: int = 0, n: int = 400) -> Posts:
    """A challenger that knows more (`gain` > 0) or less of what happened than the champion."""
    rng = np.random.default_rng(seed)
    kpi = rng.uniform(0, 100, n)

    def expected(knows: float) -> np.ndarray:
        return np.clip(knows * kpi + (1 - knows) * rng.uniform(0, 100, n), 0, 100)

    models = ("reward", "judge")
    return Posts(
        kpi,
        [f"a{i % 20}" for i in range(n)],
        [DECIDING[i % 20 >= 15] for i in range(n)],
        {m: expected(0.4) for m in models},
        {m: expected(0.4 + gain) for m in models},
    )


def test_a_better_challenger_passes_and_says_why() -> None:
    verdict = judge(posts(0.3), STILL, LIKE, SAME, GUARDS, 1)
    assert verdict.passed
    assert "reward: correlation +" in verdict.reason


def test_the_difference_is_that_of_two_correlations() -> None:
    some = posts(0.3)
    found = ahead(some, "reward", np.ones(400, bool), 1)
    new, old = (np.corrcoef(one["reward"], some.kpi)[0, 1] for one in (some.challenger, some.champion))
    assert found["mean"] == pytest.approx(new - old, abs=1e-5)
    assert found["lo"] < found["mean"] < found["hi"]


def test_a_model_that_says_one_number_knows_nothing() -> None:
    some = posts(0.3)
    flat = {model: np.full(400, 50.0) for model in some.champion}
    assert judge(replace(some, champion=flat), STILL, LIKE, SAME, GUARDS, 1).passed
    assert not judge(replace(some, challenger=flat), STILL, LIKE, SAME, GUARDS, 1).passed


def test_equals_do_not_pass() -> None:
    same = posts(0.3)
    verdict = judge(replace(same, challenger=same.champion), STILL, LIKE, SAME, GUARDS, 1)
    assert not verdict.passed
    assert verdict.reason.startswith("reward: correlation +0.000")


def test_chance_passes_seldom() -> None:
    passed = sum(judge(posts(0.0, seed), STILL, LIKE, SAME, GUARDS, 1).passed for seed in range(40))
    assert passed <= 2  # both models by chance: 2.5 % squared, were they independent


def test_a_reward_alone_does_not_pass() -> None:
    fooled = posts(0.3)
    fooled = replace(fooled, challenger={"reward": fooled.challenger["reward"], "judge": fooled.champion["judge"]})
    verdict = judge(fooled, STILL, LIKE, SAME, GUARDS, 1)
    assert not verdict.passed
    assert "judge" in verdict.reason


def test_what_is_worse_for_unseen_accounts_does_not_pass() -> None:
    """Better on the whole, since there are more newest posts."""
    good, bad = posts(0.4), posts(-0.4)
    unseen = np.asarray(good.splits) == "test_account"
    mixed = {m: np.where(unseen, bad.challenger[m], good.challenger[m]) for m in good.challenger}
    verdict = judge(replace(good, challenger=mixed), STILL, LIKE, SAME, GUARDS, 1)
    failed = {check.name for check in verdict.checks if not check.passed}
    assert failed >= {"reward no worse on test_account", "judge no worse on test_account"}
    assert not failed & {"reward no worse on test_time", "judge no worse on test_time"}


@pytest.mark.parametrize(
    ("worse", "name"),
    [({"vendi": 17.9}, "diversity"), ({"mismatch": 0.151}, "mismatch"), ({"unsafe": 0.011}, "safety")],
)
def test_each_guard_keeps_out(worse: dict, name: str) -> None:
    verdict = judge(posts(0.3), STILL, LIKE, replace(SAME, **worse), GUARDS, 1)
    assert [check.name for check in verdict.checks if not check.passed] == [name]


def test_a_word_that_moves_the_challenger_alone_does_not_pass() -> None:
    planted = Moved("#zq7", "reward", 2.0, 31.0)
    verdict = judge(posts(0.3), (*STILL, planted), LIKE, SAME, GUARDS, 1)
    assert [check.name for check in verdict.checks if not check.passed] == ["canary"]
    assert "the word '#zq7' moves the reward by +31.0 KPI points, the champion's, when first tried, by +2.0" in verdict.reason


def test_a_word_that_moves_the_other_way_now_does_not_pass() -> None:
    turned = Moved("sale", "judge", -9.0, 9.0)
    assert turned.excess == 9.0
    assert not judge(posts(0.3), (turned,), LIKE, SAME, GUARDS, 1).passed
    assert judge(posts(0.3), (Moved("sale", "judge", -9.0, 0.0),), LIKE, SAME, GUARDS, 1).passed


def test_a_word_that_has_always_counted_passes() -> None:
    assert judge(posts(0.3), (Moved("sale", "reward", -20.0, -24.0),), LIKE, SAME, GUARDS, 1).passed


def test_what_is_asked_but_was_not_measured_does_not_pass_and_what_is_not_asked_does() -> None:
    verdict = judge(posts(0.3), STILL, Line(), Guarded(), GUARDS, 1)
    assert {check.name for check in verdict.checks if not check.passed} == {"diversity", "mismatch", "safety"}
    assert "set guards.unsafe to null" in verdict.reason
    newly = judge(posts(0.3), STILL, Line(), replace(SAME, unsafe=0.02), GUARDS, 1)
    assert [check.name for check in newly.checks if not check.passed] == ["safety"], (
        "of the champion's pictures nobody knows that they are safe"
    )
    assert judge(posts(0.3), STILL, Line(), SAME, GUARDS, 1).passed, "a guard that is newer than the champion does not keep all others out"
    nothing = Guards(diversity=None, mismatch=None, canary=None, unsafe=None)
    assert judge(posts(0.3), (Moved("x", "reward", 0.0, 99.0),), Line(), Guarded(), nothing, 1).passed


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(-0.3, 0.5))
def test_the_order_of_posts_does_not_matter(seed: int, gain: float) -> None:
    given_ = posts(gain, seed, 60)
    order = np.random.default_rng(seed).permutation(60)

    def shuffled(columns: dict) -> dict:
        return {name: column[order] for name, column in columns.items()}

    other = Posts(
        given_.kpi[order],
        [given_.accounts[i] for i in order],
        [given_.splits[i] for i in order],
        shuffled(given_.champion),
        shuffled(given_.challenger),
    )
    assert judge(given_, STILL, LIKE, SAME, GUARDS, 1).passed == judge(other, STILL, LIKE, SAME, GUARDS, 1).passed


def test_nothing_to_compare_on_is_an_error() -> None:
    some = posts()
    with pytest.raises(ValueError, match="no post of test_time or test_account"):
        judge(replace(some, splits=["val"] * 400), STILL, LIKE, SAME, GUARDS, 1)
