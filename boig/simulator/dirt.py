"""The dirt of real feeds, dealt out over clean posts: each kind at its share, each counted."""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from boig.simulator.posts import Post, snowflake

SHARES: dict[str, float] = {
    "missing_media": 0.005,
    "truncated_picture": 0.005,
    "absurd_size": 0.003,
    "deleted": 0.007,
    "duplicate": 0.007,
    "near_duplicate": 0.025,
    "preview": 0.015,
    "changed_likes": 0.04,
}
"""Share of the posts; no post gets two kinds."""
EXTRA: dict[str, float] = {"retweet": 0.02, "video": 0.015, "broken_line": 0.002}
"""Share of the posts that comes on top of them."""
UNUSABLE = ("missing_media", "truncated_picture", "absurd_size", "deleted")
"""Posts with these kinds cannot be learnt from."""
_EDITS = ("same", "encode", "enlarge", "crop")
_FORMATS = ("png", "jpg")


@dataclass(frozen=True)
class Draft:
    """A post on its way into the feed."""

    post: Post
    dirt: str
    """One of `SHARES`, or empty."""
    source: str
    """Id of the post whose picture this one repeats; its own id for an original."""
    edit: str
    """How a repeated picture was changed: same, encode, enlarge or crop; empty for an original."""
    extension: str
    """png or jpg."""


@dataclass(frozen=True)
class Aside:
    """A record without a picture of its own."""

    post_id: str
    account: str
    created_at: datetime
    kind: str
    """retweet or video."""


def count_of(share: float, posts: int, scale: float) -> int:
    """Records of a kind; at least one where dirt is asked for at all, so that small feeds have every kind too."""
    return max(1, round(share * posts * scale)) if scale else 0


def deal(seed: int, posts: list[Post], scale: float) -> list[Draft]:
    """Each post with its dirt, in the same order.

    Args:
        seed: of the feed.
        posts: by time.
        scale: times `SHARES`.
    """
    rng = np.random.default_rng([seed, 2**20])
    order = iter(rng.permutation(len(posts)).tolist())
    kinds = [""] * len(posts)
    for kind, share in SHARES.items():
        for _ in range(min(count_of(share, len(posts), scale), len(posts) // 20)):
            kinds[next(order)] = kind
    earlier: dict[str, list[int]] = {}
    drafts = []
    for i, (post, kind) in enumerate(zip(posts, kinds, strict=True)):
        own = np.random.default_rng([seed, 2**20 + 1, i])
        source, edit, past = post, "", earlier.setdefault(post.account, [])
        extension = _FORMATS[int(own.integers(2))]
        if kind == "near_duplicate" and past:
            # The repeat takes the old caption along: the same creative, posted again.
            source, edit = posts[past[int(own.integers(len(past)))]], _EDITS[int(own.integers(len(_EDITS)))]
            extension = {"same": "png", "encode": "jpg"}.get(edit, extension)
            post = replace(post, scene=source.scene, advertised=source.advertised, text=source.text)
        elif kind == "near_duplicate":
            kind = ""
        elif not kind:
            past.append(i)
        drafts.append(Draft(post, kind, source.post_id, edit, extension))
    return drafts


def asides(seed: int, posts: list[Post], scale: float) -> list[Aside]:
    """Retweets and videos of the same accounts, at moments near their posts."""
    rng = np.random.default_rng([seed, 2**20 + 2])
    found: list[Aside] = []
    for kind in ("retweet", "video"):
        for i in sorted(rng.integers(len(posts), size=count_of(EXTRA[kind], len(posts), scale)).tolist()):
            post = posts[i]
            found.append(Aside(snowflake(post.created_at, 4096 + len(found)), post.account, post.created_at, kind))
    return found
