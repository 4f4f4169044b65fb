"""The codec of the small diffusion pipeline: an AutoencoderKL from 64 px to 8×8×16 latents, trained on rendered scenes.

    python -m base.recipes.codec --steps 4500 --device cpu

An AutoencoderKL of common width takes hours to pass 20 dB on two cores. Three things make it minutes: few channels at
full resolution (the cost is there, the content of flat drawings is not), the second convolution of each residual block
starts at zero (so that training starts from a short linear network), and small batches at a high rate.

`--decoder-only` refines the decoder of a trained codec and leaves its latents as they are, so it can run while, or
after, the denoiser is trained on them.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tqdm import tqdm

from boig.simulator.render import render
from boig.simulator.scenes import sample_scene

CHANNELS = (8, 16, 32, 64)
LATENT_CHANNELS = 16
KL_WEIGHT = 1e-4  # per latent dimension, against a per-pixel squared error: leaves a posterior sigma near 0.03
L1_WEIGHT = 0.2  # sharpens edges, which squared error alone leaves gray
PRODUCT_WEIGHT = 4.0  # of pixels within products' boxes: they are few, and what the picture is about


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


def build() -> AutoencoderKL:
    """An untrained codec; residual branches start at zero."""
    levels = len(CHANNELS)
    codec = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        sample_size=64,
        mid_block_add_attention=False,
    )
    for name, module in codec.named_modules():
        if name.rsplit(".", 1)[-1] == "conv2":
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    return codec


def losses(codec: AutoencoderKL, x: torch.Tensor, weight: torch.Tensor, noise: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(training loss, squared error) of one batch of pictures and the weights of their pixels."""
    posterior = codec.encode(x).latent_dist
    z = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=noise, device=x.device)
    error = codec.decode(z).sample - x
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    loss = (weight * (error.square() + L1_WEIGHT * error.abs())).mean() + KL_WEIGHT * kl
    return loss, error.square().mean()


@torch.no_grad()
def score(codec: AutoencoderKL, count: int, seed: int, device: str) -> dict[str, float]:
    """PSNR in dB (peak to peak 2) on unseen pictures, and the standard deviation of their latents."""
    x = pictures(np.random.default_rng(seed), count)[0].to(device)
    z = codec.encode(x).latent_dist.mean
    squared = (codec.decode(z).sample.clamp(-1, 1) - x).square().mean(dim=(1, 2, 3))
    return {"psnr_db": float((10 * torch.log10(4 / squared)).mean()), "latent_std": float(z.std()), "pictures": count}


def train(codec: AutoencoderKL, steps: int, batch: int, rate: float, seed: int, device: str) -> AutoencoderKL:
    """Adam with a cosine schedule on fresh pictures; returns the exponential average of the weights."""
    rng, noise = np.random.default_rng(seed), torch.Generator(device).manual_seed(seed)
    weights = [p for p in codec.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1, (i + 1) / 100) * (0.51 + 0.49 * np.cos(np.pi * i / steps)))
    averaged = torch.optim.swa_utils.AveragedModel(codec, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    bar = tqdm(range(steps), desc="codec", mininterval=5)
    for step in bar:
        x, weight = pictures(rng, batch)
        loss, squared = losses(codec, x.to(device), weight.to(device), noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(codec)
        if step % 100 == 0:
            bar.set_postfix(psnr=f"{float(10 * torch.log10(4 / squared.detach())):.1f} dB")
    return averaged.module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--decoder-only", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("base/diffusion/vae"))
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    started = time.monotonic()
    codec = AutoencoderKL.from_pretrained(args.out) if args.decoder_only else build()
    if args.decoder_only:
        codec.encoder.requires_grad_(False)
        codec.quant_conv.requires_grad_(False)
    codec = train(codec.to(args.device, memory_format=torch.channels_last), args.steps, args.batch, args.rate, args.seed, args.device).eval()
    scores = score(codec, 500, args.seed + 1, args.device)
    if not args.decoder_only:
        codec.register_to_config(scaling_factor=round(1 / scores["latent_std"], 4))
    codec.to(memory_format=torch.contiguous_format).save_pretrained(args.out)
    record = {**scores, "seconds": round(time.monotonic() - started), "arguments": {k: str(v) for k, v in vars(args).items()}}
    log = args.out.parent / "scores.json"
    known = json.loads(log.read_text()) if log.exists() else {}
    log.write_text(json.dumps({**known, "codec_decoder" if args.decoder_only else "codec": record}, indent=2) + "\n")
    print(f"codec: {scores['psnr_db']:.1f} dB on {scores['pictures']} unseen pictures, in {args.out}")


if __name__ == "__main__":
    main()
