"""What the embedded default is meant to reach, checked against its metrics: the report says openly what was missed."""

from collections.abc import Mapping
from dataclasses import dataclass

from boig.evaluation.formats import mean_of, percent, signed_percent

UPLIFT, UPLIFT_LOW = 0.30, 0.20
DIVERSITY = 0.7
AGREEMENT_SLACK = 0.05
CEILING_SHARE = 0.80


@dataclass(frozen=True)
class Goal:
    """One number to reach."""

    what: str
    measured: str
    reached: bool


def generation_goals(evaluate: Mapping) -> list[Goal]:
    """Goals for BoigSD against its base; those without numbers are left out."""
    ours, base = evaluate.get("boigsd"), evaluate.get("base")
    if ours is None or base is None:
        return []
    goals = []
    if (uplift := ours.get("true_uplift")) is not None:
        reached = uplift["mean"] >= UPLIFT and uplift["lo"] > UPLIFT_LOW
        measured = f"{signed_percent(uplift['mean'])} ({signed_percent(uplift['lo'])} … {signed_percent(uplift['hi'])})"
        goals.append(Goal("Expected likes under the true law at least 30 % above base, lower end above 20 %", measured, reached))
    share = ours["vendi"]["mean"] / base["vendi"]["mean"]
    goals.append(Goal("Diversity (Vendi) at least 0.7 × base", f"{share:.2f} ×", share >= DIVERSITY))
    wins = ours["judge_win_rate"]
    measured = f"{percent(wins['mean'])} ({percent(wins['lo'])} … {percent(wins['hi'])})"
    goals.append(Goal("The independent judge prefers it to base, interval above one half", measured, wins["lo"] > 0.5))
    mine, theirs = mean_of(ours.get("prompt_agreement")), mean_of(base.get("prompt_agreement"))
    if mine is not None and theirs is not None:
        measured = f"{percent(mine)} against {percent(theirs)}"
        goals.append(Goal("Prompt agreement not more than 5 points below base", measured, mine >= theirs - AGREEMENT_SLACK))
    return goals


def reward_goals(reward: Mapping) -> list[Goal]:
    """The reward against the ceiling of a perfect predictor."""
    split = reward.get("test_time", {})
    ceiling, pearson = mean_of(split.get("ceiling")), mean_of(split.get("reward", {}).get("pearson"))
    if ceiling is None or pearson is None:
        return []
    measured = f"{pearson:.3f} against {ceiling:.3f}, {percent(pearson / ceiling)}"
    return [Goal("Reward: Pearson on the newest posts at least 0.80 × ceiling", measured, pearson >= CEILING_SHARE * ceiling)]
