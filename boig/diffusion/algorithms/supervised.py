"""What supervised methods share: pictures encoded once, and a denoising step of a batch of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from PIL import Image
from torch import Tensor

from boig.diffusion.learner import Learner
from boig.diffusion.sampler import latent_shape
from boig.diffusion.text import TextCache


@dataclass(frozen=True)
class Examples:
    """N pictures that people reacted to."""

    prompts: tuple[str, ...]
    kpi: np.ndarray
    """(N,) float64, 0–100."""
    buckets: tuple[str, ...]
    latents: Tensor
    """(N, C, h, w) float32 on the CPU, scaled as the U-Net wants them."""


@torch.no_grad()
def encode(pipe: StableDiffusionPipeline, pictures: Sequence[np.ndarray], batch_size: int = 32) -> Tensor:
    """Latents of pictures: the mode of the VAE's posterior.

    Args:
        pipe: base.
        pictures: uint8 (H, W, 3), of any size; the middle square is scaled to the base's size.
        batch_size: pictures per pass.

    Returns:
        (N, C, h, w) float32 on the CPU.
    """
    side = latent_shape(pipe)[1] * 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    latents = []
    for start in range(0, len(pictures), batch_size):
        pixels = np.stack([_square(picture, side) for picture in pictures[start : start + batch_size]])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents.append(pipe.vae.encode(batch.to(pipe.device, pipe.vae.dtype)).latent_dist.mode().float().cpu())
    return torch.cat(latents) * pipe.vae.config.scaling_factor


def _square(picture: np.ndarray, side: int) -> np.ndarray:
    height, width = picture.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    middle = picture[top : top + edge, left : left + edge]
    return middle if edge == side else np.asarray(Image.fromarray(middle).resize((side, side), Image.Resampling.LANCZOS))


def denoising_step(
    pipe: StableDiffusionPipeline,
    learner: Learner,
    texts: TextCache,
    latents: Tensor,
    prompts: Sequence[str],
    seed: int,
    iteration: int,
    *,
    buckets: Sequence[str | None] = (),
) -> dict[str, float]:
    """One optimizer step on the base's own training loss, for a batch that is shared among the ranks.

    Args:
        pipe, learner: what is trained.
        texts: text embeddings.
        latents: (B, C, h, w) clean, on the CPU.
        prompts: B.
        seed, iteration: decide noise and timesteps.
        buckets: B KPI buckets to tell with the prompts, None where one is not told; empty for none at all.
    """
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, iteration]).generate_state(1, np.uint64)[0] >> 1))
    noise = torch.randn(latents.shape, generator=generator)
    timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (len(latents),), generator=generator)
    mine = [i for i in range(len(latents)) if learner.world.owns(i)]
    noisy = scheduler.add_noise(latents, noise, timesteps)
    velocity = scheduler.get_velocity(latents, noise, timesteps)
    target = {"v_prediction": velocity, "epsilon": noise, "sample": latents}[scheduler.config.prediction_type]
    context = texts.embed([prompts[i] for i in mine], [buckets[i] for i in mine] if buckets else ())
    found = pipe.unet(noisy[mine].to(context), timesteps[mine].to(pipe.device), encoder_hidden_states=context).sample.float()
    loss = ((found - target[mine].to(pipe.device)) ** 2).flatten(1).mean(1).sum() / len(latents)
    loss.backward()
    norm = learner.update()
    learner.progress.counts.pictures += len(latents)
    learner.progress.counts.unet_forwards += len(latents)
    return {"loss": float(loss.detach()) * learner.world.size, "grad_norm": float(norm)}
