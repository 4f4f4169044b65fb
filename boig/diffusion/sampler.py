"""Our own DDIM step, with the log-probability of what it drew, and `generate`.

Trajectory, scheduler arithmetic and log-probabilities are float32 whatever the U-Net runs in: a trajectory rounded to bf16 puts a
seventh of all steps outside a clip of 1e-4 before the first update. Each step agrees with diffusers' `DDIMScheduler.step` (see its test).
Nothing waits for the device inside the loop: which steps are stochastic is known beforehand, and noise is drawn before the first step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from boig.diffusion.text import TextCache

_SIGMA_MIN = 1e-4
"""Standard deviation below which a step counts as deterministic: the density has no use there."""


@dataclass(frozen=True)
class Schedule:
    """The numbers of each denoising step, first step first. T steps."""

    timesteps: Tensor
    """(T,) int64, on the device."""
    alpha: Tensor
    """(T,) float32: the cumulative product of alphas before the step."""
    alpha_prev: Tensor
    """(T,) float32: after it."""
    sigma: Tensor
    """(T,) float32: standard deviation of the noise that the step adds."""
    stochastic: tuple[bool, ...]
    """Length T: whether the step has a density."""
    prediction: str
    """`epsilon`, `v_prediction` or `sample`."""
    clip: float
    """Bound on the predicted picture's latent; infinite for none."""

    @property
    def steps(self) -> int:
        return len(self.stochastic)

    @classmethod
    def of(cls, config: dict, steps: int, eta: float | Sequence[float], device: torch.device | str = "cpu") -> "Schedule":
        """From the configuration of a pipeline's scheduler, of whatever class.

        Args:
            config: `pipe.scheduler.config`.
            steps: denoising steps.
            eta: 0 deterministic … 1 ancestral; one for all steps, or one for each.
            device: where the numbers are to lie.

        Raises:
            ValueError: the base cannot be sampled like this.
        """
        ddim = DDIMScheduler.from_config(config)
        if ddim.config.thresholding:
            raise ValueError("the base's scheduler thresholds, which is for pixel models; set `thresholding` to false in its config")
        if not 1 <= steps <= ddim.config.num_train_timesteps:
            raise ValueError(f"steps is {steps}, must be between 1 and the base's {ddim.config.num_train_timesteps}")
        ddim.set_timesteps(steps)
        timesteps = ddim.timesteps
        before = timesteps - ddim.config.num_train_timesteps // steps
        alpha = ddim.alphas_cumprod[timesteps]
        alpha_prev = torch.where(before >= 0, ddim.alphas_cumprod[before.clamp(min=0)], ddim.final_alpha_cumprod)
        if ddim.config.prediction_type == "epsilon" and alpha[0] == 0:
            raise ValueError("a base with zero terminal SNR cannot predict epsilon at its first step; train it with v_prediction")
        variance = (1 - alpha_prev) / (1 - alpha) * (1 - alpha / alpha_prev)
        sigma = torch.as_tensor(eta, dtype=torch.float32) * variance.clamp(min=0).sqrt()
        return cls(
            timesteps=timesteps.to(device),
            alpha=alpha.to(device),
            alpha_prev=alpha_prev.to(device),
            sigma=sigma.to(device),
            stochastic=tuple(bool(s > _SIGMA_MIN) for s in sigma),
            prediction=ddim.config.prediction_type,
            clip=ddim.config.clip_sample_range if ddim.config.clip_sample else math.inf,
        )

    def mean(self, step: int, prediction: Tensor, latents: Tensor) -> Tensor:
        """Mean of the next latents (B, C, h, w), given the U-Net's prediction at these. All float32."""
        alpha, alpha_prev, sigma = self.alpha[step], self.alpha_prev[step], self.sigma[step]
        root, rest = alpha.sqrt(), (1 - alpha).sqrt()
        if self.prediction == "epsilon":
            clean, noise = (latents - rest * prediction) / root, prediction
        elif self.prediction == "v_prediction":
            clean, noise = root * latents - rest * prediction, root * prediction + rest * latents
        else:
            clean, noise = prediction, (latents - root * prediction) / rest
        if self.clip < math.inf:
            clean = clean.clamp(-self.clip, self.clip)
        return alpha_prev.sqrt() * clean + (1 - alpha_prev - sigma**2).clamp(min=0).sqrt() * noise

    def logprob(self, step: int, mean: Tensor, after: Tensor) -> Tensor:
        """(B,) float32: log-density of the next latents under the step, *mean* over latent dimensions; 0 where the step has none."""
        if not self.stochastic[step]:
            return torch.zeros(len(mean), device=mean.device)
        sigma = self.sigma[step]
        density = -((after - mean) ** 2) / (2 * sigma**2) - sigma.log() - 0.5 * math.log(2 * math.pi)
        return density.flatten(1).mean(1)


def predict(unet: nn.Module, latents: Tensor, timestep: Tensor, context: Tensor, contrast: Tensor | None, guidance: float) -> Tensor:
    """The U-Net's prediction, float32 (B, C, h, w).

    Args:
        unet: in its own dtype.
        latents: float32 (B, C, h, w).
        timestep: () int64.
        context: (B, L, D) text embeddings.
        contrast: (B, L, D) what guidance leads away from; None, or a guidance of 1, saves the second pass.
        guidance: scale of classifier-free guidance.
    """
    inputs = latents.to(context.dtype)
    if contrast is None or guidance == 1:
        return unet(inputs, timestep, encoder_hidden_states=context).sample.float()
    both = unet(torch.cat([inputs, inputs]), timestep, encoder_hidden_states=torch.cat([contrast, context])).sample.float()
    away, toward = both.chunk(2)
    return away + guidance * (toward - away)


def noise(seeds: Sequence[int], steps: int, shape: tuple[int, ...], device: torch.device | str) -> Tensor:
    """(B, steps + 1, C, h, w) standard normal: row 0 is where a picture starts. Row b depends on `seeds[b]` alone, on any device."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(int(seed))
        rows.append(torch.cat([torch.randn((count, *shape), generator=generator) for count in (1, steps) if count]))
    return torch.stack(rows).to(device, non_blocking=True)


@torch.no_grad()
def trajectory(
    unet: nn.Module, schedule: Schedule, draws: Tensor, context: Tensor, contrast: Tensor | None, guidance: float
) -> tuple[Tensor, Tensor]:
    """Denoise from noise.

    Args:
        unet, context, contrast, guidance: as for `predict`.
        schedule: T steps.
        draws: (B, T + 1, C, h, w) from `noise`.

    Returns:
        Latents (B, T + 1, C, h, w), from noise to picture, and log-probabilities (B, T); both float32.
    """
    path, logprobs = [draws[:, 0]], []
    for step in range(schedule.steps):
        mean = schedule.mean(step, predict(unet, path[-1], schedule.timesteps[step], context, contrast, guidance), path[-1])
        after = mean + schedule.sigma[step] * draws[:, step + 1] if schedule.stochastic[step] else mean
        logprobs.append(schedule.logprob(step, mean, after))
        path.append(after)
    return torch.stack(path, 1), torch.stack(logprobs, 1)


@torch.no_grad()
def decode(pipe: StableDiffusionPipeline, latents: Tensor) -> np.ndarray:
    """Latents (B, C, h, w) as pictures: uint8 (B, H, W, 3)."""
    pixels = pipe.vae.decode((latents / pipe.vae.config.scaling_factor).to(pipe.vae.dtype)).sample.float()
    return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def latent_shape(pipe: StableDiffusionPipeline) -> tuple[int, int, int]:
    """(C, h, w) of the size that the base was trained at."""
    size = pipe.unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return pipe.unet.config.in_channels, height, width


def generate(
    pipe: StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    guidance: float,
    *,
    kpi: tuple[str, str] | None = None,
    eta: float = 0.0,
    batch_size: int = 16,
    cache: TextCache | None = None,
) -> np.ndarray:
    """Draw one picture per prompt; picture i is a function of prompts[i] and seeds[i], whatever is drawn beside it.

    To the last bit, for one `batch_size`: matrix kernels round differently for batches of other shapes, so the last batch is filled up.

    Args:
        pipe: with or without an adapter.
        prompts, seeds: N of each.
        steps: denoising steps.
        guidance: scale of classifier-free guidance; 1 is none.
        kpi: (wanted, contrast) buckets for a KPI-guided adapter: guidance leads from no prompt and the second to the prompt and the first.
        eta: 0 deterministic … 1 ancestral.
        batch_size: pictures per forward pass.
        cache: text embeddings to use and to add to.

    Returns:
        uint8 (N, H, W, 3).

    Raises:
        ValueError: not as many seeds as prompts, or steps that the base does not have.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds; give one seed per prompt")
    schedule = Schedule.of(pipe.scheduler.config, steps, eta, pipe.device)
    texts = cache or TextCache(pipe)
    wanted, away = ([kpi[0]] * batch_size, [kpi[1]] * batch_size) if kpi else ((), ())
    shape = latent_shape(pipe)
    pictures = []
    for start in range(0, len(prompts), batch_size):
        rows = range(start, min(start + batch_size, len(prompts)))
        filled = [*rows, *[rows[-1]] * (batch_size - len(rows))]
        draws = noise([seeds[i] for i in filled], schedule.steps if eta > 0 else 0, shape, pipe.device)
        context = texts.embed([prompts[i] for i in filled], wanted)
        contrast = texts.embed([""] * batch_size, away) if guidance != 1 else None
        latents, _ = trajectory(pipe.unet, schedule, draws, context, contrast, guidance)
        pictures.append(decode(pipe, latents[:, -1])[: len(rows)])
    if not pictures:
        factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
        return np.zeros((0, shape[1] * factor, shape[2] * factor, 3), np.uint8)
    return np.concatenate(pictures)
