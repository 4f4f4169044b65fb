"""A toy feed with a linear law of its own: rendered scenes, captions, a KPI in 0–100. It never touches the simulator's law."""

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import rankdata

from boig import contracts
from boig.feed.picture import perceptual_hash
from boig.simulator import captions, catalog
from boig.simulator.render import Scene, render
from boig.simulator.scenes import sample_scene
from boig.verbalizer import palette
from boig.verbalizer.form import MAX_COLORS, ColorShare, ObjectBox, Verbalization

_START = datetime(2023, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ToyFeed:
    """Rows of the four contract tables and the toy law's own expectation of each post."""

    posts: list[dict]
    negatives: list[dict]
    pictures: list[dict]
    verbalized: list[dict]
    expected: np.ndarray
    """(N,) the noiseless part of the KPI's latent scale."""

    def write(self, root: Path) -> None:
        contracts.POSTS.write(self.posts, root)
        contracts.NEGATIVES.write(self.negatives, root)
        contracts.PICTURES.write(self.pictures, root)
        contracts.VERBALIZED.write(self.verbalized, root)


def verbalize(scene: Scene, picture: np.ndarray) -> Verbalization:
    """The verbalization that a perfect detector and captioner would write."""
    names, tones = palette.shares(picture[None])
    order = [i for i in np.argsort(-names[0], kind="stable")[:MAX_COLORS] if names[0, i] >= 0.01]
    objects = tuple(ObjectBox(p.kind, p.box) for p in sorted(scene.products, key=lambda p: -(p.box[2] - p.box[0])))
    warm, neutral = round(float(tones[0, 0]), 2), round(float(tones[0, 1]), 2)
    return Verbalization(
        colors=tuple(ColorShare(palette.NAMES[i], round(float(names[0, i]), 2)) for i in order),
        tones=(warm, neutral, round(1 - warm - neutral, 2)),
        objects=objects,
        caption=captions.picture_description(scene),
    )


def _picture_effect(scene: Scene, text: Verbalization, industry: int, season: int, brand: int, weights: dict) -> float:
    cover = np.zeros(40)
    for color in text.colors:
        cover[palette.NAMES.index(color.name)] = color.coverage
    effect = cover @ weights["color"] + cover @ weights["industry_color"][industry] + np.array(text.tones) @ weights["season_tone"][season]
    effect += 1.0 * cover[brand] + 0.4 * bool(scene.slogan)
    for box in (o.box for o in text.objects[:1]):
        effect += 4.0 * (box[2] - box[0]) * (box[3] - box[1]) - 0.8 * abs((box[0] + box[2]) / 2 - 0.5)
    return float(effect)


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def _phash(picture: np.ndarray) -> str:
    return f"{perceptual_hash(Image.fromarray(picture)):016x}"


def _splits(rng: np.random.Generator, accounts: np.ndarray, days: np.ndarray, held_out: int) -> np.ndarray:
    split = rng.choice(["train", "judge", "val"], size=len(accounts), p=(0.59, 0.31, 0.10)).astype(object)
    split[days >= np.quantile(days, 0.85)] = "test_time"
    split[accounts >= accounts.max() + 1 - held_out] = "test_account"
    return split


def make(posts: int = 240, accounts: int = 12, seed: int = 0, side: int = 64, noise: float = 0.35) -> ToyFeed:
    """A feed of `posts` posts.

    Args:
        posts: how many.
        accounts: how many; the last sixth never occurs in training.
        seed: of scenes, law and noise.
        side: px of a picture's side.
        noise: share of the latent variance that nothing explains; context takes 20 % and the picture the rest.
    """
    rng = np.random.default_rng(seed)
    industries = list(catalog.INDUSTRIES)
    weights = {"color": rng.normal(0, 1.0, 40), "industry_color": rng.normal(0, 0.8, (6, 40)), "season_tone": rng.normal(0, 0.5, (4, 3))}
    hour_effect, day_effect, brands = rng.normal(0, 1, 24), rng.normal(0, 1, 7), rng.integers(0, 40, accounts)
    who, days, hours = rng.integers(0, accounts, posts), np.sort(rng.integers(0, 730, posts)), rng.integers(7, 23, posts)
    rows, pictures, verbalized, effect, context = [], {}, [], [], []
    for i in range(posts):
        industry = int(who[i]) % 6
        kinds = (str(rng.choice(catalog.INDUSTRIES[industries[industry]])),)
        scene = sample_scene(rng, kinds)
        picture = render(scene, side)
        text = verbalize(scene, picture)
        when = _START + timedelta(days=int(days[i]), hours=int(hours[i]))
        effect.append(_picture_effect(scene, text, industry, (when.month % 12) // 3, brands[who[i]], weights))
        context.append(hour_effect[when.hour] + day_effect[when.weekday()])
        key = f"{i:016x}"
        pictures[key] = picture
        verbalized.append(_verbalized_row(key, text))
        rows.append({
            "post_id": f"p{i:05d}", "account": f"brand{who[i]:02d}", "industry": industries[industry], "created_at": when,
            "observed_at": when + timedelta(days=30), "caption": captions.random_caption(rng, kinds), "picture_id": key,
            "group": f"p{i:05d}",
        })  # fmt: skip
    expected = np.sqrt(0.8 - noise) * _standard(np.array(effect)) + np.sqrt(0.2) * _standard(np.array(context))
    latent = expected + np.sqrt(noise) * _standard(rng.standard_t(5, posts))
    splits = _splits(rng, who, days, max(1, accounts // 6))
    for account in range(accounts):
        mine = np.flatnonzero(who == account)
        for i, rank in zip(mine, (rankdata(latent[mine]) - 0.5) / max(len(mine), 1) * 100, strict=True):
            rows[i] |= {"kpi": float(rank), "kpi_raw": float(np.expm1(4 + latent[i])), "split": str(splits[i])}
            rows[i]["bucket"] = "high" if rank >= 90 else "medium" if rank >= 60 else "low"
    table = [{"picture_id": k, "png": _png(p), "width": side, "height": side, "phash": _phash(p)} for k, p in pictures.items()]
    return ToyFeed(rows, _negatives(rng, rows), table, verbalized, expected)


def _verbalized_row(picture_id: str, text: Verbalization) -> dict:
    warm, neutral, cool = text.tones
    return {
        "picture_id": picture_id, "version": "toy", "text": text.to_json(),
        "colors": [{"name": c.name, "coverage": c.coverage} for c in text.colors], "warm": warm, "neutral": neutral, "cool": cool,
        "objects": [{"label": o.label, "box": list(o.box), "score": 1.0} for o in text.objects], "caption": text.caption, "error": "",
    }  # fmt: skip


def _negatives(rng: np.random.Generator, rows: list[dict]) -> list[dict]:
    train = [r for r in rows if r["split"] == "train"]
    chosen = rng.choice(len(train), size=max(1, len(train) // 8), replace=False)
    other = [[r for r in train if r["industry"] != train[i]["industry"]] for i in chosen]
    return [
        {
            "post_id": train[i]["post_id"],
            "picture_id": str(rng.choice([r["picture_id"] for r in far])),
            "kpi": float(rng.uniform(0, 15)),
            "bucket": "low",
        }
        for i, far in zip(chosen, other, strict=True)
        if far
    ]


def write_ceiling(folder: Path) -> None:
    """A `ceiling.json` as the simulate stage writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ceiling.json").write_text(
        json.dumps({name: {"val": 0.8, "test_time": 0.8, "test_account": 0.8} for name in ("ceiling", "pair_accuracy")})
    )
