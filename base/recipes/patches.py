"""Principal components of picture patches: the latents that the codec is taught and the denoiser learns to draw."""

import numpy as np
import torch

from boig.simulator.render import render
from boig.simulator.scenes import sample_scene

SIDE = 8  # pixels a side of a patch: 64 px pictures give 8×8 latents
CHANNELS = 16  # 97 % of the variance
PICTURES, SEED = 3000, 77


def patches(x: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) pictures as (N, H/8, W/8, 192) patches."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // SIDE, SIDE, w // SIDE, SIDE).permute(0, 2, 4, 3, 5, 1).reshape(n, h // SIDE, w // SIDE, SIDE * SIDE * c)


def project(x: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) pictures in −1…1 as (N, C, H/8, W/8) latents: coefficients of the scaled components, (192, C)."""
    return (patches(x) @ basis).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def components() -> torch.Tensor:
    """(192, C) components by falling variance, under one scale that gives the latents a mean square of 1.

    They are not centered, so that gray stays zero, and each points to the positive side of its largest entry, so that
    every linear algebra library gives the same.
    """
    rng = np.random.default_rng(SEED)
    x = torch.from_numpy(np.stack([render(sample_scene(rng)) for _ in range(PICTURES)])).permute(0, 3, 1, 2).double().div(127.5).sub(1)
    rows = patches(x).reshape(-1, SIDE * SIDE * 3)
    variance, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    basis = vectors.flip(1)[:, :CHANNELS]
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    return (basis / variance.flip(0)[:CHANNELS].mean().sqrt()).float()
