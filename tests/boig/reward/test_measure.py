import numpy as np
import pytest

from boig.reward.calibration import Calibration
from boig.reward.measure import Truth, ahead, all_pairs, averaged, comparable, errors_together, honesty, matching, ordering
from boig.simulator.ceiling import pair_accuracy


def _truth(n: int = 200) -> tuple[Truth, np.ndarray]:
    rng = np.random.default_rng(0)
    kpi, accounts = rng.uniform(0, 100, n), [f"a{i % 8}" for i in range(n)]
    return Truth(kpi, accounts, *comparable(accounts, np.arange(n) // 40, kpi)), rng.normal(size=n)


def test_the_truth_itself_scores_one_and_its_opposite_minus_one():
    truth, noise = _truth()
    best, worst, chance = (ordering(m, truth, seed=0) for m in (truth.kpi, -truth.kpi, noise))
    for metric in ("pearson", "spearman", "spearman_within"):
        assert best[metric]["mean"] == pytest.approx(1)
        assert worst[metric]["mean"] == pytest.approx(-1)
        assert abs(chance[metric]["mean"]) < 0.2
    assert (best["pair_accuracy"]["mean"], worst["pair_accuracy"]["mean"]) == (1, 0)
    assert chance["pair_accuracy"]["mean"] == pytest.approx(0.5, abs=0.1)


def test_a_constant_knows_nothing():
    truth, _ = _truth()
    row = ordering(np.full(200, 42.0), truth, seed=0)
    assert (row["pearson"]["mean"], row["spearman_within"]["mean"], row["pair_accuracy"]["mean"]) == (0, 0, 0.5)


def test_spearman_within_ignores_levels_of_accounts():
    truth, _ = _truth()
    level = np.array([1000.0 * int(a[1]) for a in truth.accounts])
    assert ordering(truth.kpi + level, truth, seed=0)["spearman_within"]["mean"] == pytest.approx(1)


def test_pairs_are_of_one_account_and_one_period():
    first, second = comparable(["a", "a", "b", "a"], np.array([0, 0, 0, 1]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1)]
    assert len(comparable(["a", "a"], np.array([0, 0]), np.array([1.0, 1.0]))[0]) == 0


def test_all_pairs_of_an_account_are_counted_whatever_their_period():
    truth = Truth(np.array([1.0, 2.0, 3.0, 3.0, 9.0]), ["a", "a", "a", "a", "b"], np.zeros(0, int), np.zeros(0, int))
    found = all_pairs(np.array([1.0, 3.0, 2.0, 1.0, 0.0]), truth, seed=0)
    assert found is not None
    assert found["n"] == 5  # two posts of a have the same KPI, b has one post
    assert found["mean"] == pytest.approx((1 + 1 + 0.5 + 0 + 0) / 5, abs=1e-5)
    assert all_pairs(np.zeros(2), Truth(np.ones(2), ["a", "a"], *comparable([], np.zeros(0), np.zeros(0))), seed=0) is None


def test_all_pairs_agree_with_the_number_that_the_feed_tells_of_its_law():
    truth, noise = _truth()
    found = all_pairs(truth.kpi + 30 * noise, truth, seed=0)
    assert found is not None
    assert found["mean"] == pytest.approx(pair_accuracy(truth.kpi + 30 * noise, truth.kpi, np.array(truth.accounts)), abs=1e-5)
    assert found["lo"] < found["mean"] < found["hi"]


def test_pairs_of_one_account_have_no_interval_to_speak_of():
    kpi = np.random.default_rng(0).uniform(0, 100, 8)
    truth = Truth(kpi, ["a"] * 8, *comparable(["a"] * 8, np.zeros(8, int), kpi))
    found = [ordering(-kpi, truth, seed=0)["pair_accuracy"], all_pairs(kpi, truth, seed=0)]
    assert [(f["mean"], f["lo"], f["hi"]) for f in found if f] == [(0.0, 0.0, 1.0), (1.0, 0.0, 1.0)]


def test_the_interval_of_a_calibration_error_holds_that_of_an_honest_chance():
    """Noise alone gives an error; the interval must not exclude that there is none."""
    rng, n = np.random.default_rng(0), 600
    mean, sigma = rng.normal(50, 12, n), np.full(n, 12.0)
    kpi, accounts = mean + rng.normal(0, 12, n), [f"a{i % 20}" for i in range(n)]
    truth = Truth(kpi, accounts, *comparable(accounts, np.arange(n) // 60, kpi))
    found = honesty(mean, sigma, ["known"] * n, truth, Calibration({"known": 1.6}, 1.0), seed=0)["ece"]
    assert found["lo"] < 0.02
    assert found["lo"] <= found["mean"] <= found["hi"]


def test_ahead_is_the_paired_difference_of_rank_correlations():
    truth, noise = _truth()
    good, flat = truth.kpi + 20 * noise, np.full(200, 7.0)
    same, over_flat, back = (ahead(a, b, truth, seed=0) for a, b in ((good, good), (good, flat), (flat, good)))
    assert (same["mean"], same["lo"], same["hi"]) == (0, 0, 0)
    assert over_flat["mean"] == pytest.approx(ordering(good, truth, seed=0)["spearman"]["mean"], abs=1e-5)
    assert back["mean"] == -over_flat["mean"]
    better = ahead(truth.kpi, good, truth, seed=0)
    assert 0 < better["lo"] <= better["mean"] <= better["hi"]


def test_intervals_are_cut_to_what_a_kpi_can_be():
    truth, _ = _truth()
    wide = Calibration({"known": 1000.0, "unknown": 1.0}, pair_scale=1.0)
    row = honesty(np.full(200, 50.0), np.full(200, 1.0), ["known"] * 200, truth, wide, seed=0)
    assert (row["coverage_90"]["mean"], row["interval_width"]["mean"]) == (1, 100)


def test_coverage_is_told_by_group():
    truth, _ = _truth()
    group = ["known food" if a < "a4" else "unknown food" for a in truth.accounts]
    row = honesty(np.full(200, 50.0), np.ones(200), group, truth, Calibration({"known": 50.0, "unknown": 25.0}, 1.0), seed=0)
    assert set(row["coverage_by_group"]) == {"known food", "unknown food"}
    assert [g["interval_width"]["mean"] for g in row["coverage_by_group"].values()] == [100, 50]
    assert row["coverage_by_group"]["known food"]["coverage_90"] == {"mean": 1, "lo": 1, "hi": 1, "n": 100}
    assert 0.3 < row["coverage_by_group"]["unknown food"]["coverage_90"]["mean"] < 0.7
    assert row["coverage_90"]["mean"] == pytest.approx(np.mean([g["coverage_90"]["mean"] for g in row["coverage_by_group"].values()]))


def test_a_model_that_sees_no_mismatch_wins_half_of_the_pairs():
    accounts, scores = [f"a{i % 4}" for i in range(40)], np.arange(40.0)
    blind, sharp = matching(scores, scores, accounts, seed=0), matching(scores, scores - 10, accounts, seed=0)
    assert (blind["mismatch_auc"]["mean"], sharp["mismatch_auc"]["mean"]) == (0.5, 1)
    assert sharp["matched"]["mean"] - sharp["mismatched"]["mean"] == pytest.approx(10)
    assert sharp["mismatched"]["lo"] < sharp["mismatched"]["mean"] < sharp["mismatched"]["hi"]


def test_several_trainings_are_averaged_and_their_spread_is_told():
    truth, _ = _truth()
    draws = [ordering(np.random.default_rng(i).normal(size=200), truth, seed=0) for i in range(3)]
    whole = averaged(draws)
    means = [d["pearson"]["mean"] for d in draws]
    assert whole["pearson"]["mean"] == pytest.approx(np.mean(means), rel=1e-4)
    assert whole["pearson_spread"] == pytest.approx(np.std(means, ddof=1), rel=1e-4)
    assert set(whole) - set(draws[0]) == {"pearson_spread"}
    assert averaged(draws[:1]) == draws[0]


def test_models_with_mistakes_of_their_own_have_unrelated_errors():
    truth, _ = _truth()
    rng = np.random.default_rng(1)
    own, other = rng.normal(size=(2, len(truth.kpi)))
    assert errors_together(truth.kpi + own, truth.kpi + own, truth, seed=0)["mean"] == pytest.approx(1)
    assert abs(errors_together(truth.kpi + own, truth.kpi + other, truth, seed=0)["mean"]) < 0.25
