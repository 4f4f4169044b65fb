"""What alignment reads: prompts of training posts, held-out prompts for the panel, well-liked pictures."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image

from boig.brief import Brief
from boig.contracts import PICTURES, POSTS
from boig.diffusion.algorithms.supervised import Examples, encode
from boig.language.prompts import picture_prompt
from boig.sections.align_boigsd import AlignBoigsd

Prompted = tuple[Brief, str]


def inputs(section: AlignBoigsd) -> list[Path]:
    """The files and folders that the stage reads, for the key of its progress."""
    loaded = (Path(section.base.model), Path(section.verbalizer.detector.model))  # or hub ids, which their revisions pin
    return [Path("data/posts"), Path(section.reward.model), Path(section.reward.judge), *filter(Path.is_dir, loaded)]


def prompts(split: str) -> list[Prompted]:
    """Briefs of a split with their prompts, by time.

    Raises:
        FileNotFoundError: no posts.
        ValueError: none of that split.
    """
    rows = sorted((row for row in POSTS.read().to_pylist() if row["split"] == split), key=lambda row: (row["created_at"], row["post_id"]))
    briefs = [Brief(row["post_id"], row["account"], row["industry"], row["created_at"], row["caption"]) for row in rows]
    if not briefs:
        raise ValueError(f"no post of split {split} to draw for; check the ingest stage")
    return [(brief, picture_prompt(brief.caption, brief.account)) for brief in briefs]


def panel(count: int, seed: int) -> list[Prompted]:
    """Held-out briefs, drawn by seed, at most one per account while there are accounts left."""
    pool = prompts("val")
    order = np.random.default_rng([seed, 1]).permutation(len(pool))
    shuffled = [pool[i] for i in order]
    seen: dict[str, int] = {}
    ranked = []
    for place, (brief, text) in enumerate(shuffled):
        seen[brief.account] = seen.get(brief.account, 0) + 1
        ranked.append((seen[brief.account], place, (brief, text)))
    return [item for _, _, item in sorted(ranked, key=lambda entry: entry[:2])[:count]]


def examples(pipe: StableDiffusionPipeline, floor: float = 0.0) -> Examples:
    """Pictures of split train with prompt and KPI, encoded once.

    Args:
        pipe: the base, whose VAE encodes.
        floor: posts with a lower KPI are left out.

    Raises:
        FileNotFoundError: no posts or pictures.
        ValueError: none is left.
    """
    posts = [row for row in POSTS.read().to_pylist() if row["split"] == "train" and row["kpi"] >= floor]
    table = PICTURES.read().select(["picture_id", "png"])
    wanted = pc.is_in(table["picture_id"], pa.array([row["picture_id"] for row in posts], pa.string()))
    png = {row["picture_id"]: row["png"] for row in table.filter(wanted).to_pylist()}
    rows = sorted((row for row in posts if row["picture_id"] in png), key=lambda row: (row["created_at"], row["post_id"]))
    if not rows:
        raise ValueError(f"no post of split train has a picture and a KPI of {floor} or more; check the ingest stage, or lower the floor")
    pictures = [np.asarray(Image.open(io.BytesIO(png[row["picture_id"]])).convert("RGB")) for row in rows]
    return Examples(
        prompts=tuple(picture_prompt(row["caption"], row["account"]) for row in rows),
        kpi=np.array([row["kpi"] for row in rows], np.float64),
        buckets=tuple(row["bucket"] for row in rows),
        latents=encode(pipe, pictures),
    )
