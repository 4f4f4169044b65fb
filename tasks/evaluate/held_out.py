"""Which briefs are asked for, and which real pictures the generated ones are compared with."""

from dataclasses import dataclass
from datetime import UTC

import numpy as np
import pyarrow as pa

from boig.brief import Brief

SPLITS = ("test_time", "test_account")
_MORE = ("val", "judge")  # where reference pictures come from when the test splits are small; not where methods have learned to draw


@dataclass(frozen=True)
class Held:
    """A held-out post: its brief, and what really happened."""

    brief: Brief
    split: str
    kpi: float
    """0–100."""
    picture_id: str


def brief_of(row: dict) -> Brief:
    """A row of the `posts` contract as a brief."""
    return Brief(row["post_id"], row["account"], row["industry"], row["created_at"].astimezone(UTC), row["caption"])


def _held(row: dict) -> Held:
    return Held(brief_of(row), row["split"], row["kpi"], row["picture_id"])


def choose(posts: pa.Table, count: int, *, seed: int, usable: frozenset[str]) -> list[Held]:
    """Held-out posts, half of them of unseen accounts where there are enough; one of each near-duplicate group.

    Posts without a caption are left out, unless the feed has no captions at all: a brief is then account and time alone.

    Args:
        posts: the `posts` contract.
        count: how many.
        seed: of the draw.
        usable: ids of pictures that could be verbalized.

    Returns:
        Ordered by post id.

    Raises:
        ValueError: no held-out post is usable.
    """
    groups: dict[str, dict] = {}
    for row in sorted(posts.to_pylist(), key=lambda r: r["post_id"]):
        if row["split"] in SPLITS and row["picture_id"] in usable:
            groups.setdefault(row["group"], row)
    rows = [row for row in groups.values() if row["caption"].strip()] or list(groups.values())
    if not rows:
        raise ValueError("no held-out post has a picture; check ingest.splits and the feed's dates")
    rng = np.random.default_rng(seed)
    shuffled = {name: [r for r in rows if r["split"] == name] for name in SPLITS}
    for part in shuffled.values():
        rng.shuffle(part)
    half = min(len(shuffled["test_account"]), count // 2)
    taken = shuffled["test_time"][: count - half]
    taken += shuffled["test_account"][: count - len(taken)]
    return sorted((_held(row) for row in taken), key=lambda h: h.brief.post_id)


def reference(posts: pa.Table, held: list[Held], count: int, *, seed: int, usable: frozenset[str]) -> list[Held]:
    """Real posts for the distances: held-out ones that are not among the briefs, then others; one of each near-duplicate group."""
    asked = {h.brief.post_id for h in held}
    rows = sorted(posts.to_pylist(), key=lambda r: r["post_id"])
    used = {r["group"] for r in rows if r["post_id"] in asked}
    rng = np.random.default_rng([seed, 1])
    taken: list[dict] = []
    for splits in (SPLITS, *((name,) for name in _MORE)):
        part = [r for r in rows if r["split"] in splits and r["picture_id"] in usable]
        rng.shuffle(part)
        for row in part:
            if len(taken) < count and row["group"] not in used:
                used.add(row["group"])
                taken.append(row)
    return sorted((_held(row) for row in taken), key=lambda h: h.brief.post_id)
