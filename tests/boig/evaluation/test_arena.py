"""Ratings find a known order, do not depend on the order of play, and carry intervals."""

import numpy as np
import pytest

from boig.evaluation import arena

accounts = [f"a{i % 12}" for i in range(600)]


def noisy(levels: dict[str, float], seed: int = 0) -> dict[str, np.ndarray]:
    """Scores with Gumbel noise: exactly Bradley–Terry with these log-strengths."""
    rng = np.random.default_rng(seed)
    return {name: level + rng.gumbel(size=len(accounts)) for name, level in levels.items()}


def test_recovers_a_known_order_and_scale():
    levels = {"base": 0.0, "pft": 0.4, "boigsd": 0.9, "real": 1.6}
    found = arena.ratings(noisy(levels), accounts, seed=0, draws=60)
    assert sorted(found, key=lambda m: found[m]["mean"]) == list(levels)
    truth = np.array(list(levels.values()))
    expected = 1000 + 400 / np.log(10) * (truth - truth.mean())
    assert [found[m]["mean"] for m in levels] == pytest.approx(expected, abs=45)
    assert found["real"]["lo"] > found["base"]["hi"]
    assert all(r["lo"] < r["mean"] < r["hi"] and r["n"] == 600 for r in found.values())


def test_equal_methods_rate_1000_and_half_wins():
    scores = {"a": np.ones(600), "b": np.ones(600)}
    assert all(r["mean"] == 1000 for r in arena.ratings(scores, accounts, seed=0, draws=10).values())
    assert arena.win_rate(scores["a"], scores["b"], accounts, seed=0)["mean"] == 0.5


def test_always_winning_stays_finite():
    found = arena.ratings({"a": np.ones(600), "b": np.zeros(600)}, accounts, seed=0, draws=10)
    assert 1200 < found["a"]["mean"] < 4000
    assert arena.ratings({"a": np.ones(600)}, accounts, seed=0, draws=5)["a"]["mean"] == 1000


def test_order_of_briefs_does_not_matter():
    scores = noisy({"a": 0.0, "b": 0.3, "c": 0.5})
    turned = {m: v[::-1] for m, v in scores.items()}
    one, two = arena.ratings(scores, accounts, seed=1, draws=5), arena.ratings(turned, accounts[::-1], seed=1, draws=5)
    assert [r["mean"] for r in one.values()] == pytest.approx([r["mean"] for r in two.values()], abs=0.01)


def test_missing_scores_are_named():
    with pytest.raises(ValueError, match="'b': 3"):
        arena.ratings({"a": np.ones(600), "b": np.ones(3)}, accounts, seed=0)
