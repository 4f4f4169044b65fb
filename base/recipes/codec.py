"""The codec of the small diffusion pipeline: an AutoencoderKL from 64 px to 8×8×16 latents, taught patch-PCA latents.

    python -m base.recipes.codec --steps 6000 --device cpu

What the latents look like decides what the denoiser learns. Those of an AutoencoderKL trained end to end have sixteen
channels of about equal variance, so most of a denoiser's loss is detail, and it had not learnt a product after 150,000
pictures. The principal components of 8×8×3 patches fall off as natural pictures do, from a standard deviation of 3 to
0.16: color and shape come first. So the encoder is fitted to those components, and the decoder to pictures from them,
which also makes each a small problem of its own. Two more things make it minutes: few channels at full resolution
(the cost is there, the content of flat drawings is not), and residual branches that start at zero.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tqdm import tqdm

from base.recipes.patches import components, project
from boig.simulator.render import render
from boig.simulator.scenes import sample_scene

CHANNELS = (8, 16, 48, 128)
L1_WEIGHT = 0.2  # sharpens edges, which squared error alone leaves gray
PRODUCT_WEIGHT = 4.0  # of pixels within products' boxes: they are few, and what the picture is about
LATENT_NOISE = 0.05  # on the decoder's input: a denoiser's latents are not exact
LOG_VARIANCE = -6.0  # of the posterior, constant: a sigma of 0.05


def pictures(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Fresh rendered pictures, (count, 3, 64, 64) in −1…1, and the weights of their pixels, (count, 1, 64, 64)."""
    scenes = [sample_scene(rng) for _ in range(count)]
    weights = torch.ones(count, 1, 64, 64)
    for weight, scene in zip(weights, scenes, strict=True):
        for product in scene.products:
            x0, y0, x1, y1 = (round(64 * v) for v in product.box)
            weight[0, y0:y1, x0:x1] = PRODUCT_WEIGHT
    stack = torch.from_numpy(np.stack([render(s) for s in scenes]))
    return stack.permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last), weights


def build(latent_channels: int) -> AutoencoderKL:
    """An untrained codec; residual branches start at zero, and the posterior's variance is a constant."""
    levels = len(CHANNELS)
    codec = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )
    for name, module in codec.named_modules():
        if name.rsplit(".", 1)[-1] == "conv2":
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    with torch.no_grad():
        codec.quant_conv.weight[latent_channels:].zero_()
        codec.quant_conv.bias[latent_channels:].fill_(LOG_VARIANCE)
    return codec


def losses(codec: AutoencoderKL, x: torch.Tensor, weight: torch.Tensor, z: torch.Tensor, noise: torch.Generator) -> dict[str, torch.Tensor]:
    """Squared error of the encoder against the components, and the decoder's loss and squared error from them."""
    encoded = codec.encode(x).latent_dist.mean
    error = codec.decode(z + LATENT_NOISE * torch.randn(z.shape, generator=noise, device=z.device)).sample - x
    return {
        "encoder": (encoded - z).square().mean(),
        "decoder": (weight * (error.square() + L1_WEIGHT * error.abs())).mean(),
        "squared": error.detach().square().mean(),
    }


@torch.no_grad()
def score(codec: AutoencoderKL, basis: torch.Tensor, count: int, seed: int, device: str) -> dict[str, float]:
    """On unseen pictures: PSNR in dB (peak to peak 2) after encoding and decoding, and the share of the components' variance
    that the encoder explains."""
    x = pictures(np.random.default_rng(seed), count)[0].to(device)
    z, encoded = project(x, basis), codec.encode(x).latent_dist.mean

    def psnr(picture: torch.Tensor) -> float:
        squared = (picture.clamp(-1, 1) - x).square().mean(dim=(1, 2, 3))
        return float((10 * torch.log10(4 / squared)).mean())

    return {
        "psnr_db": psnr(codec.decode(encoded).sample),
        "explained": float(1 - (encoded - z).square().mean() / z.square().mean()),
        "pictures": count,
    }


def train(codec: AutoencoderKL, basis: torch.Tensor, args: argparse.Namespace) -> AutoencoderKL:
    """Adam with a cosine schedule on fresh pictures; returns the exponential average of the weights."""
    rng, noise = np.random.default_rng(args.seed), torch.Generator(args.device).manual_seed(args.seed)
    weights = list(codec.parameters())
    optimizer = torch.optim.AdamW(weights, lr=args.rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1, (i + 1) / 100) * (0.51 + 0.49 * np.cos(np.pi * i / args.steps))
    )
    averaged = torch.optim.swa_utils.AveragedModel(codec, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    bar, smooth = tqdm(range(args.steps), desc="codec", mininterval=5), {"encoder": 1.0, "squared": 1.0}
    for step in bar:
        x, weight = (v.to(args.device) for v in pictures(rng, args.batch))
        found = losses(codec, x, weight, project(x, basis), noise)
        optimizer.zero_grad()
        (found["encoder"] + found["decoder"]).backward()
        for part in (codec.encoder, codec.decoder):  # each its own norm: the two share nothing
            torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(codec)
        smooth = {k: v + 0.02 * (float(found[k].detach()) - v) for k, v in smooth.items()}
        if step % 100 == 0:
            bar.set_postfix(encoder=f"{smooth['encoder']:.4f}", decoder=f"{10 * np.log10(4 / smooth['squared']):.1f} dB")
    return averaged.module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("base/diffusion/vae"))
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    started = time.monotonic()
    basis = components().to(args.device)
    codec = build(basis.shape[1]).to(args.device, memory_format=torch.channels_last)
    codec = train(codec, basis, args).eval()
    scores = score(codec, basis, 500, args.seed + 1, args.device)
    codec.to(memory_format=torch.contiguous_format).save_pretrained(args.out)
    record = {**scores, "seconds": round(time.monotonic() - started), "arguments": {k: str(v) for k, v in vars(args).items()}}
    log = args.out.parent / "scores.json"
    known = json.loads(log.read_text()) if log.exists() else {}
    log.write_text(json.dumps({**known, "codec": record}, indent=2) + "\n")
    print(f"codec: {scores['psnr_db']:.1f} dB on {scores['pictures']} unseen pictures, in {args.out}")


if __name__ == "__main__":
    main()
