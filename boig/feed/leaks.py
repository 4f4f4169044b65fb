"""What training must not be told: checks on the tables that it reads, before it learns from them.

Ingest makes tables without these leaks; but tables can come from elsewhere, be joined by hand, or be half written anew. Each check costs
a fraction of a second and says what leaked and what to do.
"""

import io
import math
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from boig.contracts import NEGATIVES, PICTURES, POSTS
from boig.feed.duplicates import close_hashes
from boig.feed.picture import THUMBNAIL_SIDE, thumbnail
from boig.feed.rules import Duplicates

FALSE_POSITIVES = 1e-6
"""Chance that captions without a leak stop a run, see `captions`; for each of the two numbers that are looked for."""
_LEAST_SHARE = 0.01  # of the posts: fewer captions that tell their KPI could not move a model
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")


def check(root: Path, rule: Duplicates) -> None:
    """All checks on the tables of a workspace.

    Args:
        root: the workspace.
        rule: when two pictures are near-duplicates, as in ingest.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: something leaks; one line says what, and the mend.
    """
    posts = POSTS.read(root).to_pylist()
    splits(posts)
    negatives(posts, NEGATIVES.read(root).to_pylist())
    pictures(posts, PICTURES.read(root).select(["picture_id", "png", "phash"]).to_pylist(), rule)
    captions(posts)


def splits(posts: list[dict]) -> None:
    """No post, and no group of near-duplicates, is in two splits; no account of `test_account` elsewhere; `test_time` is the newest.

    Args:
        posts: rows of the `posts` contract.

    Raises:
        ValueError: it is otherwise.
    """
    for column, what in (("post_id", "post"), ("group", "near-duplicate group")):
        found: dict[str, str] = {}
        for post in posts:
            other = found.setdefault(post[column], post["split"])
            if other != post["split"]:
                raise ValueError(f"leak: {what} {post[column]!r} is in splits {other} and {post['split']}; run ingest again")
    held = {post["account"] for post in posts if post["split"] == "test_account"}
    newest = min((post["created_at"] for post in posts if post["split"] == "test_time"), default=None)
    for post in (p for p in posts if p["split"] not in ("test_account", "test_time")):
        if post["account"] in held:
            raise ValueError(f"leak: account {post['account']!r} of split test_account has a post in {post['split']}; run ingest again")
        if newest and post["created_at"] >= newest:
            raise ValueError(
                f"leak: post {post['post_id']!r} of split {post['split']} is from {post['created_at']:%Y-%m-%d %H:%M}, not before split "
                f"test_time, which begins {newest:%Y-%m-%d %H:%M}; run ingest again"
            )


def negatives(posts: list[dict], foreign: list[dict]) -> None:
    """Post and picture of each mismatched negative are of split train: judge and test posts stay unseen.

    Args:
        posts: rows of the `posts` contract.
        foreign: rows of the `negatives` contract.

    Raises:
        ValueError: one is of another split, or of none.
    """
    by_post = {p["post_id"]: p["split"] for p in posts}
    by_picture = defaultdict(set)
    for post in posts:
        by_picture[post["picture_id"]].add(post["split"])
    for row in foreign:
        places = {by_post.get(row["post_id"], "no")} | (by_picture.get(row["picture_id"]) or {"no"})
        if places != {"train"}:
            where = ", ".join(sorted(places - {"train"}))
            raise ValueError(
                f"leak: the negative of post {row['post_id']!r} with picture {row['picture_id']!r} takes from split {where}, "
                "not from train alone; run ingest again"
            )


def pictures(posts: list[dict], rows: list[dict], rule: Duplicates) -> None:
    """No picture is in two splits, nor are two near-duplicates, whatever the groups say.

    Args:
        posts: rows of the `posts` contract.
        rows: `picture_id`, `png` and `phash` of the `pictures` contract.
        rule: ingest's; hashes propose a pair, thumbnails decide.

    Raises:
        ValueError: a picture or a pair is.
    """
    split: dict[str, str] = {}
    for post in posts:
        other = split.setdefault(post["picture_id"], post["split"])
        if other != post["split"]:
            raise ValueError(f"leak: picture {post['picture_id']!r} is in splits {other} and {post['split']}; run ingest again")
    used = [row for row in rows if row["picture_id"] in split]
    place = np.array([split[row["picture_id"]] for row in used])
    hashes = np.array([int(row["phash"], 16) for row in used], dtype=np.uint64)
    small, known = np.zeros((len(used), THUMBNAIL_SIDE**2 * 3), dtype=np.int16), np.zeros(len(used), dtype=bool)
    for left, right in close_hashes(hashes, rule.phash_bits):
        apart = place[left] != place[right]
        left, right = left[apart], right[apart]
        for i in set(left[~known[left]].tolist()) | set(right[~known[right]].tolist()):
            small[i], known[i] = np.frombuffer(thumbnail(Image.open(io.BytesIO(used[i]["png"])).convert("RGB")), dtype=np.uint8), True
        for at in np.flatnonzero(np.abs(small[left] - small[right]).mean(1) <= rule.thumbnail_levels)[:1]:
            a, b = left[at], right[at]
            raise ValueError(
                f"leak: pictures {used[a]['picture_id']!r} of split {place[a]} and {used[b]['picture_id']!r} of {place[b]} are "
                "near-duplicates, but no group joins them; run ingest again"
            )


def captions(posts: list[dict]) -> None:
    """Captions do not tell their own post's KPI, neither as observed nor as a percentile.

    A number in a caption may be the KPI by chance ("50 % off"). What chance does is known: if captions and KPI were dealt at random within
    each account, the expected count of captions that hold their KPI is m, an exact mean over all deals, and the count c exceeds m by t
    with a probability of at most exp(−t² / (4 m + 2 t)) (Chatterjee 2007, "Stein's method for concentration inequalities", prop. 1.1;
    the bound is on the logarithm of the moment generating function, which adds up over accounts). A run stops where this is below
    `FALSE_POSITIVES` and t is at least 1 % of the posts. With m near 0 that is 29 captions.

    Args:
        posts: rows of the `posts` contract.

    Raises:
        ValueError: far more captions hold their KPI than chance makes.
    """
    # Rows of one post, or of its copies, are not dealt apart: each counts once.
    posts = list({(post["group"], post["caption"], post["kpi_raw"]): post for post in posts}.values())
    said = [numbers(post["caption"]) for post in posts]
    by_account = defaultdict(list)
    for i, post in enumerate(posts):
        by_account[post["account"]].append(i)
    for column, what in (("kpi_raw", "KPI as observed"), ("kpi", "KPI percentile")):
        count, expected = 0.0, 0.0
        for rows in by_account.values():
            values = np.array([posts[i][column] for i in rows])
            for own, i in enumerate(rows):
                if said[i]:
                    told = np.any([np.abs(values - number) <= half + 1e-9 for number, half in said[i]], axis=0)
                    count += told[own]
                    expected += told.mean()
        excess = count - expected
        if excess >= _LEAST_SHARE * len(posts) and bound(excess, expected) < FALSE_POSITIVES:
            raise ValueError(
                f"leak: {count:.0f} of {len(posts)} captions hold the {what} of their own post, by chance it would be {expected:.1f}; "
                "take it out of the captions and run ingest again"
            )


def bound(excess: float, expected: float) -> float:
    """The greatest probability with which chance alone exceeds an expected count of coincidences by `excess`."""
    return math.exp(-(excess**2) / (4 * expected + 2 * excess)) if excess > 0 else 1.0


def numbers(caption: str) -> list[tuple[float, float]]:
    """Numbers in a text, each with half a unit of its last decimal: 24 is what 23.75 reads when rounded."""
    found = [text.replace(",", "") for text in _NUMBER.findall(caption)]
    return [(float(text), 0.5 * 10.0 ** -len(text.partition(".")[2])) for text in found if len(text) < 16]
