"""PFT: supervised fine-tuning on pictures that people liked, with the post's caption as prompt (BOIG §6; its numbers are not published)."""

import numpy as np
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from boig.diffusion.algorithms.policy import check_adapter
from boig.diffusion.algorithms.supervised import Examples, denoising_step
from boig.diffusion.learner import Learner
from boig.diffusion.settings import Supervised
from boig.diffusion.text import TextCache


class LikedPictures:
    """One optimizer step per iteration, on pictures drawn by how well they were liked."""

    def __init__(
        self, pipe: StableDiffusionPipeline, learner: Learner, settings: Supervised, examples: Examples, texts: TextCache, seed: int
    ):
        """Set up.

        Raises:
            ValueError: no picture is liked well enough.
        """
        check_adapter(pipe)
        self.learner = learner
        self._pipe, self._settings, self._examples, self._texts, self._seed = pipe, settings, examples, texts, seed
        self._chance = liking(examples.kpi, settings.floor, settings.sharpness)

    def step(self, iteration: int) -> dict[str, float]:
        s, rng = self._settings, np.random.default_rng([self._seed, iteration])
        rows = rng.choice(len(self._chance), size=s.batch_size, p=self._chance)
        dropped = rng.random(s.batch_size) < s.dropout
        prompts = ["" if drop else self._examples.prompts[row] for row, drop in zip(rows, dropped, strict=True)]
        return denoising_step(self._pipe, self.learner, self._texts, self._examples.latents[rows], prompts, self._seed, iteration)


def liking(kpi: np.ndarray, floor: float, sharpness: float) -> np.ndarray:
    """(N,) chance of each picture to be drawn: 0 below the floor, above it growing as exp(sharpness × (KPI − floor) / 100).

    Raises:
        ValueError: no KPI reaches the floor.
    """
    chance = np.where(kpi >= floor, np.exp(sharpness * (kpi - floor) / 100), 0.0)
    if not chance.any():
        raise ValueError(f"no training picture has a KPI of {floor} or more; lower align_boigsd.pft.floor")
    return chance / chance.sum()
