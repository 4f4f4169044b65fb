"""The embedded feed: posts planned, pictures painted in shards, likes by the law; X API v2 pages, and the truth beside them."""

import json
import os
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from boig.contracts import TRUTH
from boig.feed.kpi import above_floor, normalize
from boig.feed.splits import assign
from boig.sections.simulate import Simulate
from boig.simulator import truth
from boig.simulator.ceiling import expected_percentile, pair_accuracy, pearson
from boig.simulator.dirt import EXTRA, UNUSABLE, Draft, asides, count_of, deal
from boig.simulator.law import EPOCH, MISMATCH_SHARE, MONTH_DAYS, MONTHS, Law, draw_noise, variance_within
from boig.simulator.pages import Deletion, Sighting, collected, write_pages
from boig.simulator.painter import Painted, Painter
from boig.simulator.posts import brief_of, draw_posts

FEED = Path("data/feed")
"""Relative to the workspace."""
_PAINTED = "painted.json"
_PICTURES = TypeAdapter(list[Painted])
_SPLITS = ("val", "test_time", "test_account")

__all__ = ["Painter", "Plan", "keep", "kept", "paint_rows", "plan", "publish", "write"]


@dataclass(frozen=True)
class Plan:
    """Everything of the feed but its pixels and likes."""

    law: Law
    drafts: tuple[Draft, ...]


def plan(section: Simulate) -> Plan:
    """Draw law, accounts, posts and dirt."""
    change = section.drift
    drift = (EPOCH + timedelta(days=MONTH_DAYS * change.month), change.law_seed) if change else None
    law = Law.from_seed(section.law_seed, section.accounts_per_industry, drift)
    posts = draw_posts(section.seed, law.accounts, section.posts, EPOCH, MONTHS, MISMATCH_SHARE)
    return Plan(law, tuple(deal(section.seed, posts, section.dirt)))


def paint_rows(plan: Plan) -> list[dict]:
    """Rows for `Painter`."""
    return [{"draft": draft} for draft in plan.drafts]


def keep(staging: Path, painted: list[Painted]) -> None:
    """Put what is painted aside, for `kept`."""
    (staging / _PAINTED).write_bytes(_PICTURES.dump_json(painted))


def kept(staging: Path) -> list[Painted]:
    """What `keep` put aside, number for number and byte for byte."""
    return _PICTURES.validate_json((staging / _PAINTED).read_bytes())


def write(section: Simulate, plan: Plan, painted: list[Painted], root: Path) -> dict:
    """Give each post its likes and write feed, truth and ceiling under `root`.

    Args:
        section: parameters.
        plan: what `plan` made of them.
        painted: one per draft, in order.
        root: a staging folder; `publish` moves what is in it.

    Returns:
        The metrics.
    """
    shutil.rmtree(root / FEED, ignore_errors=True)  # of an interrupted run
    rng = np.random.default_rng([section.seed, 2**21])
    briefs = [brief_of(d.post, plan.law.account(d.post.account).industry) for d in plan.drafts]
    parts = truth.parts(plan.law, briefs, [p.facts for p in painted])
    expected = parts["course"] + parts["context"] + parts["picture"]
    noise = draw_noise(rng, len(expected))
    likes = np.maximum(np.rint(np.expm1(expected + noise)), 0)  # (N,)
    feed = root / FEED
    dirt = _write_feed(section, plan, painted, likes, rng, feed)
    (feed / "truth").mkdir(parents=True)
    plan.law.save(feed / "truth" / "law.json")
    TRUTH.write(_truth_rows(plan, painted, parts, noise, likes), root)
    ceiling = _ceiling(section, plan, parts, expected, likes)
    (feed / "ceiling.json").write_text(json.dumps(ceiling, indent=1, sort_keys=True) + "\n")
    owner = np.array([d.post.account for d in plan.drafts])
    variance = {"picture": parts["picture"], "context": parts["context"], "noise": noise}
    shares = {name: variance_within(values, owner) for name, values in variance.items()}
    return {
        "posts": len(plan.drafts) + dirt["retweet"] + dirt["video"],
        "pictures": sum(bool(data) for p in painted for _, data, _ in p.files),
        "law_seed": section.law_seed,
        "dirt": dirt,
        "variance_share": {name: value / sum(shares.values()) for name, value in shares.items()},
        **ceiling,
    }


def publish(root: Path, workspace: Path = Path(".")) -> Path:
    """Move the finished feed from the staging folder to its place, replacing an older one."""
    target = workspace / FEED
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(root / FEED, target)
    shutil.rmtree(root)
    return target


def _write_feed(section: Simulate, plan: Plan, painted: list[Painted], likes: np.ndarray, rng: np.random.Generator, feed: Path) -> dict:
    """Picture files and pages; counts of dirt by kind."""
    (feed / "media").mkdir(parents=True)
    for p in painted:
        for name, data, _ in p.files:
            if data:
                (feed / "media" / name).write_bytes(data)
    sightings, deletions = _sightings(plan, painted, likes, rng)
    posts = [d.post for d in plan.drafts]
    extra = asides(section.seed, posts, section.dirt)
    for i, aside in enumerate(extra):
        retweet_of = str(int(aside.post_id) - 2**40) if aside.kind == "retweet" else ""
        said = "RT @friends_of_us: Look at this!" if retweet_of else "Watch the film. https://t.co/film"
        when = collected(aside.created_at, EPOCH)
        sightings.append(Sighting(when, aside.post_id, aside.account, aside.created_at, said, 20 + i, (), not retweet_of, retweet_of))
    broken = rng.integers(0, 2**31, size=count_of(EXTRA["broken_line"], len(posts), section.dirt))
    kinds = [d.dirt for d in plan.drafts if d.dirt] + [a.kind for a in extra]
    dirt = {kind: kinds.count(kind) for kind in sorted(set(kinds) | {"retweet", "video"})}
    dirt["broken_line"] = write_pages(feed / "pages", plan.law.accounts, sightings, deletions, frozenset(broken.tolist()))
    return dirt


def _sightings(plan: Plan, painted: list[Painted], likes: np.ndarray, rng: np.random.Generator) -> tuple[list[Sighting], list[Deletion]]:
    """What the collector sees of each post, and when; and the deletions it is told of."""
    sightings, deletions = [], []
    for draft, paint, count in zip(plan.drafts, painted, likes.astype(int).tolist(), strict=True):
        post, when = draft.post, collected(draft.post.created_at, EPOCH)
        media = tuple((name, side) for name, _, side in paint.files)
        seen = Sighting(when, post.post_id, post.account, post.created_at, post.text, count, media)
        sightings.append(seen)
        if draft.dirt == "duplicate":
            sightings.append(seen)
        elif draft.dirt == "changed_likes":  # seen too early once: the final count comes later and wins
            early = collected(post.created_at, EPOCH, weeks_later=0)
            part = int(count * rng.uniform(0.3, 0.9))
            sightings.append(Sighting(early, post.post_id, post.account, post.created_at, post.text, part, media))
        elif draft.dirt == "deleted":
            deletions.append(Deletion(when + timedelta(days=int(rng.integers(1, 40))), post.post_id, post.account))
    return sightings, deletions


def _truth_rows(plan: Plan, painted: list[Painted], parts: dict[str, np.ndarray], noise: np.ndarray, likes: np.ndarray) -> list[dict]:
    return [
        {
            "post_id": d.post.post_id,
            "source": d.source,
            "dirt": d.dirt,
            **{name: float(values[i]) for name, values in parts.items()},
            "noise": float(noise[i]),
            "likes": float(likes[i]),
            "objects": [{"label": kind, "box": list(box)} for kind, box in p.facts.products],
            "background": d.post.scene.color,
            "has_text": p.facts.has_text,
        }
        for i, (d, p) in enumerate(zip(plan.drafts, painted, strict=True))
    ]


def _ceiling(section: Simulate, plan: Plan, parts: dict[str, np.ndarray], expected: np.ndarray, likes: np.ndarray) -> dict[str, dict]:
    """`ceiling` (Pearson) and `pair_accuracy` of the law's own expectation with the KPI, per split, over the posts that ingest can use.

    Two forms of the expectation are tried, log-likes without the account's course and the expected percentile in the window; the one with
    the larger Pearson counts, as a perfect predictor would choose it.
    """
    use = np.flatnonzero([d.dirt not in UNUSABLE for d in plan.drafts])
    use = use[above_floor(likes[use], section.kpi)]
    posts = [plan.drafts[i] for i in use.tolist()]
    owner = np.array([d.post.account for d in posts])
    time_us = np.array([round(d.post.created_at.timestamp() * 1e6) for d in posts], dtype=np.int64)
    industry = [plan.law.account(d.post.account).industry for d in posts]
    split = np.array(assign(owner.tolist(), industry, time_us, [d.source for d in posts], section.splits), dtype=object)
    newest = split == "test_time"
    kpi = normalize(owner, time_us, likes[use], section.kpi, newest)
    free = (parts["context"] + parts["picture"])[use]
    mapped = np.empty(len(use))
    for name in np.unique(owner):
        mine = owner == name
        mapped[mine] = expected_percentile(np.log1p(likes[use][mine]), expected[use][mine], time_us[mine], section.kpi, newest[mine])
    found: dict[str, dict] = {"ceiling": {}, "pair_accuracy": {}}
    for name in _SPLITS:
        mine = split == name
        if mine.sum() < 3 or np.ptp(kpi[mine]) == 0:
            continue  # too small a feed: no correlation to speak of
        found["ceiling"][name] = max(pearson(free[mine], kpi[mine]), pearson(mapped[mine], kpi[mine]))
        found["pair_accuracy"][name] = max(pair_accuracy(score[mine], kpi[mine], owner[mine]) for score in (free, mapped))
    return found
