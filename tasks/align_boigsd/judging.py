"""Who looks at generated pictures: the reward, in actors of its own, and the fixed panel with the judge."""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image

from boig.brief import Brief
from boig.diffusion.diversity import palette, variety
from boig.diffusion.rollout import Score, Scored
from boig.diffusion.sampler import generate
from boig.diffusion.settings import Panel, Rewarding, Sampling
from boig.diffusion.text import TextCache
from boig.diffusion.world import World
from boig.evaluation.settings import Verbalizing
from boig.reporting import Reporter
from boig.reward.judge import Judge
from boig.reward.service import Service
from tasks.align_boigsd.reading import Prompted


class RewardWorker:
    """The scoring service as the aligner asks it. Lives in an actor; a plain callable elsewhere."""

    def __init__(self, verbalizer: Verbalizing, reward: Rewarding):
        """Load the models.

        Raises:
            FileNotFoundError: one of them is missing.
        """
        self._service = Service.load(verbalizer, reward.model, dict(reward.weights), reward.device)

    def __call__(self, briefs: list[Brief], pictures: np.ndarray) -> Scored:
        """Score N pictures, uint8 (N, H, W, 3)."""
        scores = self._service(briefs, pictures)
        return Scored(scores.total, dict(scores.parts))


@dataclass(frozen=True)
class PanelView:
    """Draws the panel with the pipeline as it is, and says how good it looks. A `boig.diffusion.training.Look`."""

    pipe: StableDiffusionPipeline
    texts: TextCache
    prompts: list[Prompted]
    settings: Panel
    sampling: Sampling
    seed: int
    score: Score
    judge: Judge
    world: World
    name: str
    """Of the method."""
    folder: Path
    """Where contact sheets go."""
    report: Reporter

    @cached_property
    def _orders(self) -> list[tuple[Brief, str, int]]:
        """All pictures: seed by seed, so that the first `shown` ones are of different prompts."""
        seeds = np.random.default_rng([self.seed, 2]).integers(0, 2**31, (self.settings.seeds, len(self.prompts)))
        return [(brief, text, int(seed)) for row in seeds for (brief, text), seed in zip(self.prompts, row, strict=True)]

    def __call__(self, iteration: int) -> dict[str, float]:
        pictures = self._draw()
        briefs = [brief for brief, _, _ in self._orders]
        scored = self.score(briefs, pictures).result()
        if self.world.rank == 0:
            self._show(pictures, iteration)
            self._keep(pictures, iteration)
        return {
            "judge": float(self.judge.score(briefs, pictures).mean()),
            "reward": float(scored.total.mean()),
            "diversity": variety(palette(pictures)),
        } | {name: float(values.mean()) for name, values in sorted(scored.parts.items())}

    def _draw(self) -> np.ndarray:
        size, mine = self.settings.batch_size, {}
        for number in filter(self.world.owns, range(-(-len(self._orders) // size))):
            part = self._orders[number * size : (number + 1) * size]
            mine[number] = generate(
                self.pipe, [text for _, text, _ in part], [seed for _, _, seed in part], self.sampling.steps, self.sampling.guidance,
                kpi=self.sampling.kpi, batch_size=size, cache=self.texts,
            )  # fmt: skip
        return np.concatenate(self.world.merge(mine))

    def _show(self, pictures: np.ndarray, iteration: int) -> None:
        sheet = contact_sheet(pictures[: min(self.settings.shown, len(self.prompts))])
        self.report.picture("panel/pictures", sheet, iteration)
        self.folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(self.folder / f"{self.name}_{iteration:04d}.png")

    def _keep(self, pictures: np.ndarray, iteration: int) -> None:
        """The panel as it is now, for evaluate: what it would bring under a simulated feed's law is not for training to know."""
        path = self.folder.parent / "out" / self.name / "panel" / f"{iteration:04d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"post_id": brief.post_id, "png": _png(picture)} for (brief, _, _), picture in zip(self._orders, pictures, strict=True)]
        pq.write_table(pa.Table.from_pylist(rows), path)


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def contact_sheet(pictures: np.ndarray, columns: int = 4, gap: int = 2) -> np.ndarray:
    """Pictures on one white sheet.

    Args:
        pictures: uint8 (N, H, W, 3), at least one.
        columns: pictures per row.
        gap: px between them.

    Returns:
        uint8 (h, w, 3).
    """
    count, height, width, _ = pictures.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet
