"""Splits, fixed once: whole accounts, the newest posts, and hash-drawn shares of the rest; groups are never torn apart.

`test_account`: whole accounts, spread over the industries, or none. `test_time`: the newest share of the other accounts' posts. Of the
rest `judge` gets a share for the judge alone, `val` a share, `train` what is left. Among these three, membership follows from seed and
group id alone, so that new posts do not move old ones.
"""

import hashlib
from collections import Counter

import numpy as np

from boig.feed.rules import SplitRule

NEAR_DUPLICATE = ""
"""In place of a split: a test post whose group also has posts elsewhere. It must be left out."""


def unit_hash(seed: int, purpose: str, key: str) -> float:
    """A number in [0, 1) that follows from its arguments alone, on any machine."""
    digest = hashlib.sha256(f"{seed}:{purpose}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def hold_out(accounts: dict[str, str], rule: SplitRule) -> frozenset[str]:
    """The test accounts.

    Args:
        accounts: name → industry, empty where unknown.
        rule: how many, and the seed.

    Raises:
        ValueError: fewer than twice as many accounts as are to be held out.
    """
    if len(accounts) < 2 * rule.test_accounts:
        raise ValueError(
            f"splits.test_accounts is {rule.test_accounts} but the feed has {len(accounts)} accounts; hold out at most half of them"
        )
    order = sorted(accounts, key=lambda name: (unit_hash(rule.seed, "account", name), name))
    held: list[str] = []
    taken: Counter[str] = Counter()
    while len(held) < rule.test_accounts:  # the industry with the fewest held accounts is next
        name = min((n for n in order if n not in held), key=lambda n: (taken[accounts[n]], order.index(n)))
        held.append(name)
        taken[accounts[name]] += 1
    return frozenset(held)


def assign(account: list[str], industry: list[str], time_us: np.ndarray, group: list[str], rule: SplitRule) -> list[str]:
    """The split of each row, or `NEAR_DUPLICATE`.

    Args:
        account, industry, group: of each of N rows; rows of one post share its group.
        time_us: posting times, (N,) int64.
        rule: shares and seed.

    Raises:
        ValueError: too few accounts for the test accounts.
    """
    held = hold_out(dict(zip(account, industry, strict=True)), rule)
    others = np.array([a not in held for a in account])
    ordered = np.sort(time_us[others])
    cutoff = ordered[min(int(len(ordered) * (1 - rule.test_time_share)), len(ordered) - 1)]
    newest = (time_us >= cutoff).tolist()
    first = ["test_account" if a in held else "test_time" if new else "rest" for a, new in zip(account, newest, strict=True)]
    places: dict[str, set[str]] = {}
    for g, place in zip(group, first, strict=True):
        places.setdefault(g, set()).add(place)
    return [_final(place, places[g], g, rule) for g, place in zip(group, first, strict=True)]


def _final(place: str, places: set[str], group: str, rule: SplitRule) -> str:
    """A test post gives way where its group has posts elsewhere: training data stays, no test picture was seen before."""
    if place == "rest":
        draw = unit_hash(rule.seed, "split", group)
        return "judge" if draw < rule.judge_share else "val" if draw < rule.judge_share + rule.val_share else "train"
    if places == {place}:
        return place
    return place if place == "test_account" and "rest" not in places else NEAR_DUPLICATE
