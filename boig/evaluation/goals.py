"""What the embedded default is meant to reach, checked against its metrics: the report says openly what was missed."""

from collections.abc import Mapping
from dataclasses import dataclass

from boig.evaluation.formats import mean_of, percent, signed_percent

UPLIFT, UPLIFT_LOW = 0.30, 0.20
DIVERSITY = 0.7
AGREEMENT_SLACK = 0.05
CEILING_SHARE = {"test_time": 0.90, "test_account": 0.80}
PAIRS_SHARE = 0.93
COVERAGE = (0.88, 0.92)
MINUTES, GIGABYTES, NOOP_SECONDS = 30, 8, 5
_SPLITS = {"test_time": "newest posts", "test_account": "unseen accounts"}
_DESCRIBED = {"color_iou": ("color IoU", 1), "coverage_rmse": ("coverage RMSE", -1), "object_iou": ("object IoU", 1)}
"""Metric → its name, and 1 where more is better."""


@dataclass(frozen=True)
class Goal:
    """One number to reach."""

    what: str
    measured: str
    reached: bool


def goals(metrics: Mapping[str, Mapping]) -> list[Goal]:
    """All goals of the default on the simulated feed.

    Args:
        metrics: per stage its metrics file; goals of absent ones are left out.
    """
    described = _description_goals(metrics.get("train_boigllm", {}))
    return [
        *_reward_goals(metrics.get("train_reward", {})), *described, *_generation_goals(metrics.get("evaluate", {})),
        *_run_goals(metrics.get("run", {})),
    ]  # fmt: skip


def _generation_goals(evaluate: Mapping) -> list[Goal]:
    """Goals for BoigSD against its base; those without numbers are left out."""
    ours, base = evaluate.get("boigsd"), evaluate.get("base")
    if ours is None or base is None:
        return []
    found = []
    if (uplift := ours.get("true_uplift")) is not None:
        reached = uplift["mean"] >= UPLIFT and uplift["lo"] > UPLIFT_LOW
        measured = f"{signed_percent(uplift['mean'])} ({signed_percent(uplift['lo'])} … {signed_percent(uplift['hi'])})"
        found.append(Goal("Expected likes under the true law at least 30 % above base, lower end above 20 %", measured, reached))
    share = ours["vendi"]["mean"] / base["vendi"]["mean"]
    found.append(Goal("Diversity (Vendi) at least 0.7 × base", f"{share:.2f} ×", share >= DIVERSITY))
    wins = ours["judge_win_rate"]
    measured = f"{percent(wins['mean'])} ({percent(wins['lo'])} … {percent(wins['hi'])})"
    found.append(Goal("The independent judge prefers it to base, interval above one half", measured, wins["lo"] > 0.5))
    mine, theirs = mean_of(ours.get("prompt_agreement")), mean_of(base.get("prompt_agreement"))
    if mine is not None and theirs is not None:
        measured = f"{percent(mine)} against {percent(theirs)}"
        found.append(Goal("Prompt agreement not more than 5 points below base", measured, mine >= theirs - AGREEMENT_SLACK))
    return found


def _reward_goals(reward: Mapping) -> list[Goal]:
    """The reward against the ceiling of a perfect predictor and simpler ones, and what its intervals hold."""
    found = []
    for name, where in _SPLITS.items():
        split = reward.get(name, {})
        found += _share(split, "pearson", "ceiling", CEILING_SHARE[name], f"Reward, {where}: Pearson")
        found += _share(split, "pair_accuracy_all", "ceiling_pairs", PAIRS_SHARE, f"Reward, {where}: accuracy over all pairs of an account")
    split = reward.get("test_time", {})
    if {"reward", "ceiling"} <= set(split):
        found += [_below_reward(split, name, title) for name, title in (("account_mean", "account mean"), ("context_only", "context only"))]
    for name, where in _SPLITS.items():
        covered = mean_of(reward.get(name, {}).get("reward", {}).get("coverage_90"))
        if covered is not None:
            reached = COVERAGE[0] <= covered <= COVERAGE[1]
            found.append(Goal(f"Reward, {where}: 90 % intervals hold 88 to 92 % of the posts", f"{100 * covered:.1f} %", reached))
    return found


def _share(split: Mapping, metric: str, bound: str, share: float, what: str) -> list[Goal]:
    """The reward's metric against what the law itself reaches; none where one of them is missing."""
    ours, law = mean_of(split.get("reward", {}).get(metric)), mean_of(split.get(bound))
    if ours is None or law is None:
        return []
    measured = f"{ours:.3f} against {law:.3f}, {percent(ours / law)}"
    return [Goal(f"{what} at least {share:.2f} × the law’s", measured, ours >= share * law)]


def _below_reward(split: Mapping, name: str, title: str) -> Goal:
    ours, other = split["reward"]["pearson"], split[name]["pearson"]
    measured = f"{other['mean']:.3f} (up to {other['hi']:.3f}) against {ours['mean']:.3f} (from {ours['lo']:.3f})"
    return Goal(f"Reward: above {title}, intervals apart", measured, other["hi"] < ours["lo"])


def _description_goals(boigllm: Mapping) -> list[Goal]:
    """BoigLLM's descriptions against both baselines."""
    found = []
    for split, where in _SPLITS.items():
        rows = boigllm.get(split, {})
        if not {"boigllm", "frequency", "neighbor"} <= set(rows):
            continue
        for metric, (title, sign) in _DESCRIBED.items():
            ours, *others = (rows[name][metric]["mean"] for name in ("boigllm", "frequency", "neighbor"))
            measured = f"{ours:.3f} against {others[0]:.3f} and {others[1]:.3f}"
            what = f"BoigLLM, {where}: {title} better than account frequency and nearest neighbor"
            found.append(Goal(what, measured, all(sign * ours > sign * other for other in others)))
    return found


def _run_goals(run: Mapping) -> list[Goal]:
    """Time and memory of the whole run."""
    if not run:
        return []
    minutes = run["wall_s"] / 60
    return [
        Goal(f"`make repro` after set-up in at most {MINUTES} min", f"{minutes:.0f} min", minutes <= MINUTES),
        Goal(f"At most {GIGABYTES} GB of memory", f"{run['peak_rss_gb']:.1f} GB", run["peak_rss_gb"] <= GIGABYTES),
        Goal(f"A run with nothing to do in at most {NOOP_SECONDS} s", f"{run['noop_s']:.1f} s", run["noop_s"] <= NOOP_SECONDS),
    ]
