"""A small feed whose pictures are verbalized from their scenes: true boxes, true palette shares, no detector needed."""

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from boig.contracts import NEGATIVES, PICTURES, POSTS, VERBALIZED
from boig.feed.picture import perceptual_hash
from boig.language.describe import tidy, unit_tones
from boig.language.examples import Example
from boig.simulator.accounts import draw_accounts
from boig.simulator.captions import picture_description
from boig.simulator.posts import brief_of, draw_posts
from boig.simulator.render import Scene, render
from boig.verbalizer.form import MAX_COLORS, ColorShare, ObjectBox, Verbalization
from boig.verbalizer.palette import NAMES, shares

_LEAST_COVERAGE = 0.02


def shown_in(scene: Scene) -> Verbalization:
    """What a flawless verbalizer says of the scene."""
    picture = render(scene)
    by_name, by_tone = (table[0] for table in shares(picture[None]))
    top = [i for i in np.argsort(-by_name, kind="stable")[:MAX_COLORS] if by_name[i] >= _LEAST_COVERAGE]
    colors = tuple(ColorShare(NAMES[i], round(float(by_name[i]), 2)) for i in top)
    objects = tuple(ObjectBox(p.kind, tuple(round(v, 2) for v in p.box)) for p in scene.products)
    return tidy(Verbalization(colors, unit_tones(by_tone), objects, picture_description(scene)))


def world(posts: int, seed: int = 5) -> list[Example]:
    """Posts of 24 accounts by time, with a KPI that likes warm pictures."""
    accounts = draw_accounts(np.random.default_rng(7), 4)
    industry = {a.name: a.industry for a in accounts}
    rng = np.random.default_rng(seed)
    examples = []
    for post in draw_posts(seed, accounts, posts, datetime(2024, 1, 1, tzinfo=UTC), 24, 0.1):
        shown = shown_in(post.scene)
        kpi = round(float(np.clip(50 + 40 * (shown.tones[0] - 0.4) + 15 * rng.normal(), 0, 100)))
        bucket = "high" if kpi > 70 else "medium" if kpi > 55 else "low"
        examples.append(Example(brief_of(post, industry[post.account]), bucket, kpi, shown))
    return examples


def split(examples: list[Example]) -> list[str]:
    """Of each of N examples by time: the least busy accounts with a tenth of the posts, the newest tenth of the others, and the rest."""
    share, accounts = len(examples) // 10, [e.brief.account for e in examples]
    held: set[str] = set()
    for name in sorted(set(accounts), key=lambda a: (accounts.count(a), a)):
        if sum(a in held for a in accounts) < share:
            held.add(name)
    others = [i for i, account in enumerate(accounts) if account not in held]
    rest = np.random.default_rng(0).permutation(others[:-share]).tolist()
    place = dict.fromkeys(others[-share:], "test_time") | dict.fromkeys(rest[: 6 * share], "train")
    place |= dict.fromkeys(rest[6 * share : 7 * share], "judge") | dict.fromkeys(rest[7 * share :], "val")
    return [place.get(i, "test_account") for i in range(len(examples))]


def write(root: Path, examples: list[Example]) -> None:
    """The examples as the tables of a workspace: 60 % train, a few judge, the rest val and tests, and a few negatives."""
    splits = split(examples)
    rows = [
        {
            "post_id": e.brief.post_id, "account": e.brief.account, "industry": e.brief.industry, "created_at": e.brief.created_at,
            "observed_at": e.brief.created_at, "caption": e.brief.caption, "kpi_raw": float(e.kpi), "kpi": float(e.kpi), "bucket": e.bucket,
            "picture_id": f"{i:016x}", "group": e.brief.post_id, "split": splits[i],
        }
        for i, e in enumerate(examples)
    ]  # fmt: skip
    train = [row for row in rows if row["split"] == "train"]
    POSTS.write(rows, root)
    pairs = zip(train[:9], train[9:18], strict=True)
    NEGATIVES.write([{"post_id": a["post_id"], "picture_id": b["picture_id"], "kpi": 8.0, "bucket": "low"} for a, b in pairs], root)
    PICTURES.write([_picture(i) for i in range(len(examples))], root)
    VERBALIZED.write([_verbalized(f"{i:016x}", e.verbalization) for i, e in enumerate(examples)], root)


def _picture(number: int) -> dict:
    """Noise: no two are near-duplicates."""
    picture = Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    phash = f"{perceptual_hash(picture):016x}"
    return {"picture_id": f"{number:016x}", "png": buffer.getvalue(), "width": 16, "height": 16, "phash": phash}


def _verbalized(picture_id: str, shown: Verbalization) -> dict:
    warm, neutral, cool = shown.tones
    return {
        "picture_id": picture_id, "version": "test", "text": shown.to_json(), "warm": warm, "neutral": neutral, "cool": cool,
        "colors": [{"name": c.name, "coverage": c.coverage} for c in shown.colors],
        "objects": [{"label": o.label, "box": list(o.box), "score": o.score} for o in shown.objects],
        "caption": shown.caption, "error": "",
    }  # fmt: skip
