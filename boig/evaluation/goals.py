"""What the embedded default is meant to reach, checked against its metrics: the report says openly what was missed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from boig.evaluation.formats import mean_of, percent, signed_percent
from boig.evaluation.tables import BOIGLLM_COLUMNS, DESCRIBED
from boig.language.metrics import HIGHER_IS_BETTER

UPLIFT, UPLIFT_LOW = 0.30, 0.20
DIVERSITY = 0.7
AGREEMENT_SLACK = 0.05
CEILING_SHARE = {"test_time": 0.90, "test_account": 0.80}
PAIRS_SHARE = 0.93
COVERAGE = (0.88, 0.92)
MINUTES, GIGABYTES, NOOP_SECONDS = 30, 8, 5
STEERING = 0.5
_BASELINES = ("frequency", "neighbor")
_SPLITS = {"test_time": "newest posts", "test_account": "unseen accounts"}


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
        *_reward_goals(metrics.get("train_reward", {})), *described, *_steering_goals(metrics.get("evaluate", {})),
        *_generation_goals(metrics.get("evaluate", {})), *_run_goals(metrics.get("run", {})),
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
    """BoigLLM's descriptions against both baselines; metrics without numbers are left out."""
    return [
        _better_described(boigllm[split], metric, where)
        for split, where in _SPLITS.items()
        for metric in DESCRIBED
        if all(metric in boigllm.get(split, {}).get(name, {}) for name in ("boigllm", *_BASELINES))
    ]


def _better_described(split: Mapping, metric: str, where: str) -> Goal:
    ours, others = split["boigllm"][metric], [split[name][metric] for name in _BASELINES]
    paired = [split.get("ahead", {}).get(name, {}).get(metric) for name in _BASELINES]
    pairs = [(other, ours) if HIGHER_IS_BETTER[metric] else (ours, other) for other in others]
    numbers = f"{ours['mean']:.3f} against {others[0]['mean']:.3f} and {others[1]['mean']:.3f}"
    title = BOIGLLM_COLUMNS[metric].title
    return Goal(
        f"BoigLLM, {where}: {title[0].lower()}{title[1:]} better than account frequency and nearest neighbor, intervals apart",
        numbers + _overlap(pairs, paired, "paired difference", "+{:.3f}".format),
        all(_apart(*pair) for pair in pairs),
    )


def _apart(lower: Mapping, upper: Mapping) -> bool:
    """Whether the whole interval of one lies below that of the other."""
    return lower["hi"] < upper["lo"]


def _overlap(pairs: Sequence[tuple[Mapping, Mapping]], paired: Sequence[Mapping | None], name: str, show: Callable[[float], str]) -> str:
    """What to say of intervals that overlap: whether their paired differences exclude 0, and from where; empty where none overlap."""
    both = [found for (a, b), found in zip(pairs, paired, strict=True) if not _apart(a, b) and not _apart(b, a)]
    if not both:
        return ""
    low = min(found["lo"] if found else 0.0 for found in both)
    return "; overlapping" + (f", {name} from {show(low)}" if low > 0 else "")


def _steering_goals(evaluate: Mapping) -> list[Goal]:
    """What wanting another KPI changes in BoigLLM's descriptions, under the true law; those without numbers are left out."""
    found = []
    if (rank := evaluate.get("steering", {}).get("described")) is not None:
        measured = f"{rank['mean']:.2f} ({rank['lo']:.2f} … {rank['hi']:.2f})"
        what = f"Steering: rank correlation of the wanted bucket with true expected likes at least {STEERING}"
        found.append(Goal(what, measured, rank["mean"] >= STEERING))
    if described := evaluate.get("described"):
        low, medium, high = (described["by_bucket"][b] for b in ("low", "medium", "high"))
        pairs, rises = [(low, medium), (medium, high)], [described["rises"][r] for r in ("low_to_medium", "medium_to_high")]
        means = ", ".join(signed_percent(bucket["mean"]) for bucket in (low, medium, high))
        measured = f"{means} against the brief’s mean{_overlap(pairs, rises, 'paired rise', signed_percent)}"
        what = "Steering: true expected likes of described pictures rise from low to medium to high, intervals apart"
        found.append(Goal(what, measured, all(_apart(*pair) for pair in pairs)))
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
