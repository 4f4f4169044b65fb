"""What on-policy methods share: the order of prompts and seeds, the clipped objective of one denoising step, passes over a rollout."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor

from boig.brief import Brief
from boig.diffusion.learner import Learner
from boig.diffusion.pipeline import ADAPTER
from boig.diffusion.rollout import Order, Rollout, RolloutBuffer, torch_row
from boig.diffusion.sampler import Schedule, predict

Prompts = Sequence[tuple[Brief, str]]
"""Briefs, each with its prompt."""


class Tally:
    """Means and maxima of what the passes saw, summed on the device: reading them once per iteration costs one wait, not one per step."""

    def __init__(self) -> None:
        self._sums: dict[str, list[Tensor]] = {}

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value.detach())

    def has(self, name: str) -> bool:
        return name in self._sums

    def mean(self, name: str) -> float:
        """0 where nothing was seen."""
        return float(torch.stack(self._sums[name]).mean()) if name in self._sums else 0.0

    def largest(self, name: str) -> float:
        """0 where nothing was seen."""
        return float(torch.stack(self._sums[name]).max()) if name in self._sums else 0.0


def drawn(prompts: Prompts, count: int, first: int, seed: int) -> list[tuple[Brief, str]]:
    """`count` prompts from place `first` of an endless sequence: shuffled passes over all, each in another order.

    Args:
        prompts: what to draw from.
        count: how many.
        first: place of the first, which is all that a resumed training must know.
        seed: decides the order.
    """
    chosen, size = [], len(prompts)
    for place in range(first, first + count):
        order = np.random.default_rng([seed, place // size]).permutation(size)
        chosen.append(prompts[int(order[place % size])])
    return chosen


def orders(chosen: Sequence[tuple[Brief, str]], group: int, seed: int, iteration: int) -> list[Order]:
    """`group` pictures of each prompt, prompts side by side, so that every chunk holds all of them: order i is of prompt i mod P."""
    seeds = np.random.SeedSequence([seed, iteration]).generate_state(len(chosen) * group, np.uint64) >> np.uint64(1)
    return [Order(*chosen[i % len(chosen)], seed=int(s)) for i, s in enumerate(seeds)]


def objective(
    pipe: StableDiffusionPipeline,
    schedule: Schedule,
    buffer: RolloutBuffer,
    step: int,
    advantage: Tensor,
    clip: float,
    kl: float,
    guidance: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one stochastic step of one chunk: PPO's clipped surrogate, and a KL to the base.

    Args:
        pipe: with the adapter that is trained.
        schedule: the one that drew the buffer.
        buffer: B pictures.
        step: which one.
        advantage: (B,) float32.
        clip: bound on |ratio − 1|.
        kl: weight of KL(policy ‖ base) of this step, mean over latent dimensions; 0 saves the pass through the base.
        guidance: the one that drew the buffer.

    Returns:
        () loss, mean over B; and scalars on the device.
    """
    before, after = buffer.latents[:, step], buffer.latents[:, step + 1]
    timestep = schedule.timesteps[step]
    mean = schedule.mean(step, predict(pipe.unet, before, timestep, buffer.context, buffer.contrast, guidance), before)
    ratio = (schedule.logprob(step, mean, after) - buffer.logprob[:, step]).exp()  # (B,)
    surrogate = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip)).mean()
    off = (ratio.detach() - 1).abs()
    seen = {"ratio_error": off.max(), "clip_fraction": (off > clip).float().mean()}
    if kl == 0:
        return surrogate, seen
    reference = reference_mean(pipe, schedule, buffer, step, guidance)
    divergence = ((mean - reference) ** 2).mean() / (2 * schedule.sigma[step] ** 2)
    return surrogate + kl * divergence, seen | {"kl": divergence}


@torch.no_grad()
def reference_mean(pipe: StableDiffusionPipeline, schedule: Schedule, buffer: RolloutBuffer, step: int, guidance: float) -> Tensor:
    """(B, C, h, w) mean of the step under the base: the same weights, the adapter off."""
    before = buffer.latents[:, step]
    pipe.unet.disable_adapters()
    try:
        return schedule.mean(step, predict(pipe.unet, before, schedule.timesteps[step], buffer.context, buffer.contrast, guidance), before)
    finally:
        pipe.unet.enable_adapters()


@dataclass(frozen=True)
class Rules:
    """How a rollout is trained on."""

    chunks_per_update: int
    """Over all ranks."""
    clip: float
    kl: float
    kl_every: int
    """The KL is taken at every n-th step, in turn, with n times the weight."""
    guidance: float
    """The one that drew the rollout."""

    def kl_weights(self, steps: int, turn: int) -> list[float]:
        """Of each trained step of a chunk."""
        return [self.kl * self.kl_every * ((place + turn) % self.kl_every == 0) for place in range(steps)]


def improve(
    pipe: StableDiffusionPipeline,
    learner: Learner,
    schedule: Schedule,
    rollout: Rollout,
    advantage: np.ndarray,
    steps_of: Sequence[Sequence[int]],
    rules: Rules,
) -> dict[str, float]:
    """Go over a rollout once per row of `steps_of`, with an optimizer step for every few chunks.

    Args:
        pipe, learner: what is trained.
        schedule, rollout: what was drawn, and how.
        advantage: (N,) float64 of all pictures.
        steps_of: for each pass, the steps to train; ascending, all stochastic.
        rules: see there.

    Returns:
        `grad_norm`, `clip_fraction` and `kl`, means over the ranks, and `start_ratio_error`: the largest |ratio − 1| before the first
        update.
    """
    size, tally, passes, iteration = len(rollout.buffers[0].logprob), Tally(), 0, learner.progress.iteration
    chunks = len(rollout.scored.total) // size
    own = {buffer.number: buffer for buffer in rollout.buffers}
    for steps in steps_of:
        for first in range(0, chunks, rules.chunks_per_update):
            batch = range(first, min(first + rules.chunks_per_update, chunks))
            for number in batch:
                weights = rules.kl_weights(len(steps), number + iteration)
                passes += size * (len(steps) + sum(weight > 0 for weight in weights))
                if not learner.world.owns(number):
                    continue
                row = torch_row(advantage, number, size, pipe.device)
                for step, weight in zip(steps, weights, strict=True):
                    loss, seen = objective(pipe, schedule, own[number], step, row, rules.clip, weight, rules.guidance)
                    (loss / (len(batch) * len(steps))).backward()
                    tally.add(**seen)
            if not tally.has("start_ratio_error"):
                tally.add(start_ratio_error=torch.tensor(tally.largest("ratio_error")))
            tally.add(grad_norm=learner.update())
    learner.progress.counts.unet_forwards += passes * (1 if rules.guidance == 1 else 2)
    means = {name: tally.mean(name) for name in ("grad_norm", "clip_fraction", "kl")}
    ranks = learner.world.merge({learner.world.rank: (means, tally.largest("start_ratio_error"))})
    means = {name: float(np.mean([rank[name] for rank, _ in ranks])) for name in means}
    return means | {"start_ratio_error": max(error for _, error in ranks)}


def check_adapter(pipe: StableDiffusionPipeline) -> None:
    """Our own mistake, not a user's, if the adapter is missing."""
    assert ADAPTER in pipe.get_list_adapters().get("unet", []), "put an adapter on the pipeline first"
