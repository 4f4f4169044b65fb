"""Mismatched negatives, for training only: a post with the picture of another one, of another account and another product.

A feed does not say what a picture shows. What it says is the industry of the account and the words of the caption: a foreign picture comes
from another industry, where industries are known, and from a post that shares no telling word with this one. In a feed of one account the
words alone have to tell.
"""

import re
from collections import Counter

import numpy as np

from boig.feed.rules import Negatives

_WORD = re.compile(r"[^\W\d_]{3,}")
_COMMON = 0.2  # words in more than this share of the captions tell nothing about the product
_TRIES = 50


def draw(posts: list[dict], rule: Negatives) -> list[dict]:
    """Rows of the `negatives` contract.

    Args:
        posts: training rows of the `posts` contract.
        rule: share, KPI and seed.

    Returns:
        share / (1 − share) × N rows, each post at most once (fewer where no foreign picture exists), by post_id.
    """
    wanted = round(len(posts) * rule.share / (1 - rule.share))
    rng = np.random.default_rng([rule.seed, len(posts)])
    words = _telling([p["caption"] for p in posts])
    single = len({p["account"] for p in posts}) == 1
    rows: list[dict] = []
    for i in rng.permutation(len(posts)).tolist():
        if len(rows) >= wanted:
            break
        for j in rng.integers(len(posts), size=_TRIES).tolist():
            if _foreign(posts[i], posts[j], single) and not words[i] & words[j]:
                rows.append({"post_id": posts[i]["post_id"], "picture_id": posts[j]["picture_id"], "kpi": float(rule.kpi), "bucket": "low"})
                break
    return sorted(rows, key=lambda r: r["post_id"])


def _foreign(post: dict, other: dict, single: bool) -> bool:
    if post["group"] == other["group"] or (post["account"] == other["account"] and not single):
        return False
    return single or not post["industry"] or not other["industry"] or post["industry"] != other["industry"]


def _telling(captions: list[str]) -> list[set[str]]:
    """Per caption, its words that are not common."""
    words = [set(_WORD.findall(c.lower())) for c in captions]
    counts = Counter(word for said in words for word in said)
    return [{word for word in said if counts[word] <= _COMMON * len(captions)} for said in words]
