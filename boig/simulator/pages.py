"""The feed's pages in the form of X API v2: `{data, includes: {media, users}, meta}`, one page per line, one file per month of collection.

A collector reads each week's posts once, a week later, so that likes have settled; `meta.observed_at` says when. A file per month lets
later work release the feed month by month: what has landed by a month's end is what its files hold.
"""

import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from boig.simulator.accounts import Account

PAGE_POSTS = 100
_WEEK = timedelta(days=7)
_HOST = "https://pbs.twimg.com/media"
_STAMP = "%Y-%m-%dT%H:%M:%S.000Z"


@dataclass(frozen=True)
class Sighting:
    """One post as the collector saw it at one moment."""

    observed_at: datetime
    post_id: str
    account: str
    created_at: datetime
    text: str
    likes: int
    media: tuple[tuple[str, int], ...] = ()
    """File name and side in px of each photo."""
    video: bool = False
    retweet_of: str = ""
    """Id of the post that is retweeted."""


@dataclass(frozen=True)
class Deletion:
    """A compliance event: the author deleted the post."""

    observed_at: datetime
    post_id: str
    account: str


def collected(created_at: datetime, start: datetime, weeks_later: int = 1) -> datetime:
    """When the collector first reads a post: at the end of its week, `weeks_later` weeks after."""
    return start + _WEEK * (math.floor((created_at - start) / _WEEK) + 1 + weeks_later)


def write_pages(
    folder: Path, accounts: tuple[Account, ...], sightings: list[Sighting], deletions: list[Deletion], broken: frozenset[int]
) -> int:
    """Write all pages.

    Args:
        folder: of the page files; made.
        accounts: all that occur.
        sightings, deletions: in any order.
        broken: numbers of the pages (modulo the number of pages) after which a line follows that was cut off.

    Returns:
        Number of broken lines written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    users = {a.name: (str(1000 + i), a) for i, a in enumerate(accounts)}
    by_time: dict[datetime, list[Sighting]] = {}
    for s in sorted(sightings, key=lambda s: (s.observed_at, s.created_at, s.post_id)):
        by_time.setdefault(s.observed_at, []).append(s)
    lines: list[tuple[datetime, str]] = []
    for when, seen in by_time.items():
        for first in range(0, len(seen), PAGE_POSTS):
            lines.append((when, _dump(_page(when, seen[first : first + PAGE_POSTS], users))))
    hurt = {n % len(lines) for n in broken} if lines else set()
    for n in sorted(hurt):  # the connection broke; the page then came whole
        lines.append((lines[n][0], lines[n][1][: len(lines[n][1]) * 3 // 5]))
    lines += [(d.observed_at, _dump(_event(d, users))) for d in deletions]
    lines.sort(key=lambda pair: pair[0])  # stable: the pages of one moment keep their order
    months: dict[str, list[str]] = {}
    for when, line in lines:
        months.setdefault(f"{when:%Y-%m}", []).append(line)
    for month, text in months.items():
        (folder / f"{month}.jsonl").write_text("\n".join(text) + "\n", encoding="utf-8")
    return len(hurt)


def _dump(value: dict) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _page(when: datetime, seen: list[Sighting], users: dict[str, tuple[str, Account]]) -> dict:
    names = dict.fromkeys(s.account for s in seen)
    ids = [s.post_id for s in seen]
    media = [m for s in seen for m in _media(s)]
    return {
        "data": [_post(s, users[s.account][0]) for s in seen],
        "includes": {"media": list({m["media_key"]: m for m in media}.values()), "users": [_user(*users[name]) for name in names]},
        "meta": {
            "result_count": len(seen),
            "newest_id": max(ids, key=int),
            "oldest_id": min(ids, key=int),
            "observed_at": when.strftime(_STAMP),
        },
    }


def _post(s: Sighting, author_id: str) -> dict:
    replies, quotes = s.likes // 23, s.likes // 71
    post: dict = {
        "id": s.post_id,
        "text": s.text,
        "author_id": author_id,
        "created_at": s.created_at.strftime(_STAMP),
        "lang": "en",
        "public_metrics": {"retweet_count": s.likes // 9, "reply_count": replies, "like_count": s.likes, "quote_count": quotes},
    }
    if s.retweet_of:
        post["referenced_tweets"] = [{"type": "retweeted", "id": s.retweet_of}]
    keys = [m["media_key"] for m in _media(s)]
    if keys:
        post["attachments"] = {"media_keys": keys}
    return post


def _media(s: Sighting) -> list[dict]:
    if s.video:
        still = f"{_HOST}/{s.post_id}_v.jpg"
        film: dict = {"media_key": f"13_{s.post_id}", "type": "video", "preview_image_url": still, "duration_ms": 9000}
        return [film]
    return [
        {"media_key": f"3_{name.split('.')[0]}", "type": "photo", "url": f"{_HOST}/{name}", "width": side, "height": side}
        for name, side in s.media
    ]


def _user(user_id: str, account: Account) -> dict:
    return {
        "id": user_id,
        "username": account.name,
        "name": account.name,
        "description": account.description,
        "public_metrics": {"followers_count": account.followers, "following_count": 100, "tweet_count": 10_000, "listed_count": 10},
    }


def _event(d: Deletion, users: dict[str, tuple[str, Account]]) -> dict:
    tweet = {"id": d.post_id, "author_id": users[d.account][0]}
    return {"data": {"delete": {"tweet": tweet, "event_at": d.observed_at.strftime(_STAMP)}}}
