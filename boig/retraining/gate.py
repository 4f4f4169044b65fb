"""The gate: a challenger becomes champion only if it is proven better on posts that neither has been trained on, and worse in nothing.

Both are asked for the KPI of the same posts: the newest ones, and those of accounts that no training sees. What decides is the paired
difference of their correlations with what happened, resampled by account: posts of one account are not independent. Likes are noisy, so
that a difference must be seen to be believed; a challenger that is as good stays a challenger, which costs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from boig.evaluation import bootstrap
from boig.evaluation.bootstrap import Estimate
from boig.retraining.line import PATCH, Guarded, Line, Moved
from boig.retraining.settings import Guards

MODELS = ("reward", "judge")
"""Both must have become better: the judge has other posts and another architecture, so that it does not share the reward's mistakes."""
DECIDING = ("test_time", "test_account")


@dataclass(frozen=True)
class Posts:
    """Held-out posts and what two generations of models expected of them."""

    kpi: np.ndarray
    """(N,) 0–100, as it happened."""
    accounts: Sequence[str]
    splits: Sequence[str]
    champion: Mapping[str, np.ndarray]
    """Model to (N,) expected KPI, 0–100."""
    challenger: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Check:
    """One question that the gate asks."""

    name: str
    passed: bool
    told: str
    """The numbers, in a sentence."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says."""

    checks: tuple[Check, ...] = field(default=())
    line: Line = field(default=Line())
    """What the next challenger is compared with, should this one become champion."""

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """Why, in a line: what failed, or else what was shown."""
        told = [check.told for check in self.checks if check.passed == self.passed]
        return "; ".join(told) or "nothing was compared"

    def as_dict(self) -> dict:
        """For the artifact."""
        return {"passed": self.passed, "reason": self.reason, "checks": [check.__dict__ for check in self.checks]}


def judge(posts: Posts, marks: Sequence[Moved], line: Line, challenger: Guarded, guards: Guards, seed: int) -> Verdict:
    """Ask all questions.

    Args:
        posts: held out from both generations' training, splits of `DECIDING` among them.
        marks: what was tried as canaries.
        line: of the champions, the one in use among them.
        challenger: guards' numbers of the new generation.
        guards: how much worse is still as good.
        seed: of the bootstrap; equal inputs give equal verdicts.

    Raises:
        ValueError: no deciding posts, or a prediction that is not finite.
    """
    canary = () if guards.canary is None else (unmoved(marks, guards.canary),)
    return Verdict((*better(posts, seed), *canary, *no_worse(line.best, challenger, guards)), line.onward(marks, guards))


def better(posts: Posts, seed: int) -> list[Check]:
    """For each model: proven better on all deciding posts together, and on neither of their splits proven worse."""
    deciding = np.isin(np.asarray(posts.splits), DECIDING)
    if not deciding.any():
        raise ValueError(f"no post of {' or '.join(DECIDING)} to compare on; the feed has no newest posts or no held-out accounts")
    checks = []
    for model in MODELS:
        found = ahead(posts, model, deciding, seed)
        checks.append(Check(f"{model} better", found["lo"] > 0, f"{model}: {_signed(found)} on {found['n']} held-out posts"))
        for split in DECIDING:
            rows = np.asarray(posts.splits) == split
            if rows.any():
                found = ahead(posts, model, rows, seed)
                checks.append(Check(f"{model} no worse on {split}", found["hi"] >= 0, f"{model} on {split}: {_signed(found)}"))
    return checks


def ahead(posts: Posts, model: str, rows: np.ndarray, seed: int) -> Estimate:
    """Pearson correlation with the KPI of the challenger's expectation minus that of the champion's, 95 % interval by account."""
    new, old, kpi = (np.asarray(column, np.float64)[rows] for column in (posts.challenger[model], posts.champion[model], posts.kpi))
    accounts = [account for account, chosen in zip(posts.accounts, rows, strict=True) if chosen]
    new, old, kpi = new - new.mean(), old - old.mean(), kpi - kpi.mean()  # the sums below lose no digits
    moments = np.stack([np.ones_like(kpi), kpi, kpi**2, new, new**2, new * kpi, old, old**2, old * kpi], axis=1)
    return bootstrap.by_cluster(_gain, moments, accounts, seed=seed)[0]


def _gain(sums: np.ndarray) -> np.ndarray:
    """(D, 9) sums over resampled posts → (D, 1) difference of two correlations; a constant expectation has none and counts as 0."""
    n, k, kk, *both = sums.T
    correlations = []
    for x, xx, xk in (both[:3], both[3:]):
        spread = (xx - x**2 / n) * (kk - k**2 / n)
        correlations.append(np.where(spread > 1e-9, (xk - x * k / n) / np.sqrt(np.maximum(spread, 1e-9)), 0.0))
    return (correlations[0] - correlations[1])[:, None]


def no_worse(best: Guarded, challenger: Guarded, guards: Guards) -> list[Check]:
    """A better score that is bought by sameness, by other products or by what nobody may see is none."""
    harmless = 0.0 if best.unsafe is None else best.unsafe  # where nobody has looked at the champions', nothing is allowed for it
    asked = (
        ("diversity", guards.diversity, _diverse, best.vendi, challenger.vendi),
        ("mismatch", guards.mismatch, partial(_most, "mismatch rate"), best.mismatch, challenger.mismatch),
        ("safety", guards.unsafe, partial(_most, "unsafe pictures"), harmless, challenger.unsafe),
    )
    checks = []
    for name, slack, rule, old, new in asked:
        if slack is None:
            continue
        if new is None:
            told = f"{name} was not measured; run the stages up to evaluate, or set guards.{name.replace('safety', 'unsafe')} to null"
            checks.append(Check(name, False, told))
        elif old is None:  # champions of before the guard; no later one could ever pass
            checks.append(Check(name, True, f"{name} of the champion was not measured: nothing to compare with"))
        else:
            checks.append(Check(name, *rule(new, old, slack)))
    return checks


def unmoved(marks: Sequence[Moved], most: float) -> Check:
    """Whether no mark moves the challenger's scores more than `most` KPI points further than those of the champion it was first tried on.

    Whoever can post can teach a mark: some hundred posts with it and with bought likes are enough, and pictures or captions that carry it
    would then win. On held-out posts such a challenger even looks better, as long as some of them carry the mark too.
    """
    worst = max(marks, key=lambda m: m.excess, default=None)
    if worst is None:
        return Check("canary", True, "no new words to try as marks")
    mark = worst.mark if worst.mark == PATCH else f"the word {worst.mark!r}"
    told = (
        f"{mark} moves the {worst.model} by {worst.challenger:+.1f} KPI points, the champion's, when first tried, by {worst.champion:+.1f}"
    )
    return Check("canary", worst.excess <= most, f"{told}; at most {most:g} more allowed ({len(marks)} marks tried)")


def _diverse(new: float, old: float, least: float) -> tuple[bool, str]:
    share = new / old if old > 0 else 1.0
    return share >= least, f"diversity {share:.0%} of the best champion's, at least {least:.0%} asked"


def _most(what: str, new: float, old: float, slack: float) -> tuple[bool, str]:
    return new <= old + slack, f"{what} {new:.1%} against the best champion's {old:.1%}, at most {slack:.0%} more allowed"


def _signed(found: Estimate) -> str:
    return f"correlation {found['mean']:+.3f} ({found['lo']:+.3f} … {found['hi']:+.3f})"
