"""The tables that reward and judge are trained on and measured by: posts joined with what their pictures show, and with the pixels."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from boig.brief import Brief
from boig.contracts import NEGATIVES, PICTURES, POSTS, VERBALIZED
from boig.reward.rows import Posts
from boig.verbalizer.form import Verbalization

SCORED = ("val", "test_time", "test_account")
"""Splits on which everything is measured."""


@dataclass(frozen=True)
class Tables:
    """Posts whose picture has a verbalization, by split; `negative` holds the mismatched ones."""

    splits: dict[str, Posts]
    picture_ids: dict[str, list[str]]

    def training(self) -> Posts:
        """Split train and the negatives."""
        a, b = self.splits["train"], self.splits["negative"]
        return Posts([*a.briefs, *b.briefs], [*a.verbalizations, *b.verbalizations], np.concatenate([a.kpi, b.kpi]))


def read(root: Path = Path(".")) -> Tables:
    """Join posts, negatives and verbalizations.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: no post has a verbalized picture, or a KPI is outside 0–100.
    """
    shown = {
        r["picture_id"]: r["text"] for r in VERBALIZED.read(root).select(["picture_id", "text", "error"]).to_pylist() if not r["error"]
    }
    posts = POSTS.read(root).to_pylist()
    by_id = {p["post_id"]: p for p in posts}
    rows = [(p["split"], p, p["picture_id"], p["kpi"]) for p in posts]
    rows += [("negative", by_id[n["post_id"]], n["picture_id"], n["kpi"]) for n in NEGATIVES.read(root).to_pylist()]
    for _, post, _, kpi in rows:
        if not 0 <= kpi <= 100:  # NaN too
            raise ValueError(f"post {post['post_id']!r}: kpi is {kpi}, must be within 0–100; run ingest again")
    rows = [r for r in rows if r[2] in shown]
    if not rows:
        raise ValueError(
            f"none of {len(posts)} posts has a verbalized picture; look at `error` in {VERBALIZED.path} and run verbalize again"
        )
    splits, pictures = {}, {}
    for split in ("train", "negative", "judge", *SCORED):
        mine = [r for r in rows if r[0] == split]
        pictures[split] = [r[2] for r in mine]
        texts = [Verbalization.from_json(shown[name]) for name in pictures[split]]
        splits[split] = Posts([_brief(r[1]) for r in mine], texts, np.array([r[3] for r in mine], dtype=np.float64))
    return Tables(splits, pictures)


def pixels(tables: Tables, root: Path, splits: Sequence[str]) -> dict[str, np.ndarray]:
    """Pixels of these splits, uint8 (N, H, W, 3); one size for all, the most frequent of the table, whatever splits are asked for."""
    wanted = {name for s in splits for name in tables.picture_ids[s]}
    table = PICTURES.read(root)
    sizes = Counter(zip(table["width"].to_pylist(), table["height"].to_pylist(), strict=True))
    size = min(sizes, key=lambda s: (-sizes[s], s), default=(1, 1))
    png = {k: v for k, v in zip(table["picture_id"].to_pylist(), table["png"].to_pylist(), strict=True) if k in wanted}
    decoded = {}
    for name in sorted(png):
        picture = Image.open(io.BytesIO(png[name])).convert("RGB")
        decoded[name] = np.asarray(picture if picture.size == size else picture.resize(size, Image.Resampling.BOX))
    empty = np.zeros((0, size[1], size[0], 3), dtype=np.uint8)
    return {s: np.stack([decoded[n] for n in tables.picture_ids[s]]) if tables.picture_ids[s] else empty for s in splits}


def _brief(row: dict) -> Brief:
    return Brief(row["post_id"], row["account"], row["industry"], row["created_at"], row["caption"])
