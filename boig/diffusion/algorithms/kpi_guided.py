"""KPI-guided training: one supervised run on all pictures, each with its prompt and its KPI bucket, both dropped now and then.

Sampling then leads from a little-liked picture of nothing to a well-liked one of what is asked, in the two passes of classifier-free
guidance: `Sampling.kpi`. Ours; it stands between PFT, which sees well-liked pictures only, and the published system, whose diffusion
model is never told a KPI.
"""

import numpy as np
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from boig.diffusion.algorithms.policy import check_adapter
from boig.diffusion.algorithms.supervised import Examples, denoising_step
from boig.diffusion.learner import Learner
from boig.diffusion.settings import KpiGuided
from boig.diffusion.text import TextCache


class KpiGuidance:
    """One optimizer step per iteration, each bucket drawn equally often."""

    def __init__(
        self, pipe: StableDiffusionPipeline, learner: Learner, settings: KpiGuided, examples: Examples, texts: TextCache, seed: int
    ):
        check_adapter(pipe)
        self.learner = learner
        self._pipe, self._settings, self._examples, self._texts, self._seed = pipe, settings, examples, texts, seed
        _, index, sizes = np.unique(np.array(examples.buckets), return_inverse=True, return_counts=True)
        self._chance = 1 / sizes[index] / len(sizes)

    def step(self, iteration: int) -> dict[str, float]:
        s, known, rng = self._settings, self._examples, np.random.default_rng([self._seed, iteration])
        rows = rng.choice(len(self._chance), size=s.batch_size, p=self._chance)
        silent, untold = rng.random((2, s.batch_size)) < s.dropout
        prompts = ["" if drop else known.prompts[row] for row, drop in zip(rows, silent, strict=True)]
        buckets = [None if drop else known.buckets[row] for row, drop in zip(rows, untold, strict=True)]
        return denoising_step(self._pipe, self.learner, self._texts, known.latents[rows], prompts, self._seed, iteration, buckets=buckets)
