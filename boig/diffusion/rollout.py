"""Rollouts: pictures with their trajectories, log-probabilities and rewards. What every on-policy method trains on.

A rollout is drawn in chunks of one size. While a chunk is drawn, the pictures of the chunks before it are scored; a chunk is also the
batch of each training pass, so that the policy before its first update repeats the rollout's arithmetic to the bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor

from boig.brief import Brief
from boig.diffusion.diversity import palette
from boig.diffusion.sampler import Schedule, decode, latent_shape, noise, trajectory
from boig.diffusion.text import TextCache
from boig.diffusion.world import World


@dataclass(frozen=True)
class Scored:
    """What a reward says of N pictures."""

    total: np.ndarray
    """(N,) float64, higher is better."""
    parts: dict[str, np.ndarray]
    """What it is made of, and what else was seen, by name; each (N,) float64."""


class Pending(Protocol):
    """A score that may still be on its way."""

    def result(self) -> Scored: ...


Score = Callable[[list[Brief], np.ndarray], Pending]
"""(N briefs, uint8 (N, H, W, 3)) → N scores, some time. Must be deterministic and must score each picture by itself."""


@dataclass(frozen=True)
class Done:
    """A score that is there."""

    scored: Scored

    def result(self) -> Scored:
        return self.scored


def at_once(score: Callable[[list[Brief], np.ndarray], Scored]) -> Score:
    """A plain function as a `Score`: nothing overlaps, nothing else is needed."""
    return lambda briefs, pictures: Done(score(briefs, pictures))


@dataclass(frozen=True)
class RolloutBuffer:
    """One chunk of B pictures on their way from noise, T steps each. Never changed."""

    number: int
    """Of the chunk in its rollout; its pictures are `number * B` … of the rollout."""
    latents: Tensor
    """(B, T + 1, C, h, w) float32: from noise to picture."""
    logprob: Tensor
    """(B, T) float32: mean over latent dimensions, under the policy that drew it; 0 at deterministic steps."""
    context: Tensor
    """(B, L, D): text embeddings of the prompts."""
    contrast: Tensor | None
    """(B, L, D): what guidance leads away from."""


@dataclass(frozen=True)
class Rollout:
    """All pictures of one iteration. N of them, over all ranks; the buffers are this rank's."""

    buffers: tuple[RolloutBuffer, ...]
    scored: Scored
    """Of all N."""
    palettes: np.ndarray
    """(N, 40) float64: the palette of each picture, see `boig.diffusion.diversity`."""
    forwards: int
    """U-Net passes per picture, over all ranks: N × T, twice that with guidance."""


@dataclass(frozen=True)
class Order:
    """What to draw: one picture."""

    brief: Brief
    prompt: str
    seed: int


def collect(
    pipe: StableDiffusionPipeline,
    orders: Sequence[Order],
    schedule: Schedule,
    texts: TextCache,
    score: Score,
    *,
    chunk: int,
    guidance: float,
    world: World,
) -> Rollout:
    """Draw and score pictures with the pipeline as it is.

    Args:
        pipe: base with the adapter that is trained.
        orders: N pictures; the same list on every rank.
        schedule: T steps.
        texts: text embeddings.
        score: the reward.
        chunk: pictures per forward pass.
        guidance: scale of classifier-free guidance; 1 is none.
        world: the ranks that share the work.

    Raises:
        ValueError: the pictures do not fill whole chunks.
    """
    if len(orders) % chunk:
        raise ValueError(f"a rollout of {len(orders)} pictures does not fill chunks of {chunk}; make it a multiple")
    buffers, waiting, palettes = [], {}, {}
    for number in filter(world.owns, range(len(orders) // chunk)):
        part = orders[number * chunk : (number + 1) * chunk]
        context = texts.embed([o.prompt for o in part])
        contrast = texts.embed([""] * chunk) if guidance != 1 else None
        draws = noise([o.seed for o in part], schedule.steps, latent_shape(pipe), pipe.device)
        latents, logprob = trajectory(pipe.unet, schedule, draws, context, contrast, guidance)
        pictures = decode(pipe, latents[:, -1])
        waiting[number] = score([o.brief for o in part], pictures)
        palettes[number] = palette(pictures)
        buffers.append(RolloutBuffer(number, latents, logprob, context, contrast))
    scored = world.merge({number: pending.result() for number, pending in waiting.items()})
    return Rollout(
        buffers=tuple(buffers),
        scored=Scored(
            total=np.concatenate([s.total for s in scored]).astype(np.float64),
            parts={name: np.concatenate([s.parts[name] for s in scored]).astype(np.float64) for name in scored[0].parts},
        ),
        palettes=np.concatenate(world.merge(palettes)),
        forwards=len(orders) * schedule.steps * (1 if guidance == 1 else 2),
    )


def torch_row(values: np.ndarray, number: int, chunk: int, device: torch.device | str) -> Tensor:
    """The values (N,) of one chunk's pictures, as float32 (B,) on the device."""
    return torch.as_tensor(values[number * chunk : (number + 1) * chunk], dtype=torch.float32).to(device)
