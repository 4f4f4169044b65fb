"""The denoiser of the small diffusion pipeline: U-Net and text encoder trained together on patch-PCA latents.

    python -m base.recipes.denoiser --pictures 340000 --device cpu

The latents are those that `base.recipes.codec` is taught; the two train side by side. Choices, with their reasons:
- v-prediction, zero terminal SNR, trailing spacing (Lin et al. 2023, arXiv 2305.08891): without it, flat backgrounds of
  a prompted color cannot be drawn, since sampling would start from noise whose mean the network has learnt to trust.
- The pooled text also enters the time embedding, as scale and shift: at this size cross-attention alone learns the
  product last, the global path learns it first.
- One level, at 8×8: products stand on that grid, so that a level at 4×4 has to learn each of them four times.
- The text encoder first learns, alone, to name what captions are about (`teach_text`).
- The loss of cells that a product covers counts four times more, and the first pictures show one large product each.
  What a caption says about a product pays in few cells and at few noise levels: without the two, a wrong product in the
  caption cost the denoiser nothing (0.0 % of its loss) after 96,000 pictures; with them 3 % after 64,000.
- A tenth of the (product, background color, product color) combinations is never trained on; `score.py` prompts those.
- Captions: post captions (what is advertised) and descriptions (how it looks), a tenth empty for guidance.
A checkpoint every 500 steps; the same command resumes, and one with more `--pictures` goes on with the rate raised again.
The shipped weights are of 208,000 pictures and then 340,000.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from tqdm import tqdm

from base.recipes.patches import components, project
from base.recipes.split import sample_training_scene
from base.recipes.text import WIDTH, build_text_encoder, build_tokenizer, sample_text, teach_text
from boig.simulator.render import Scene, render

PRODUCT_WEIGHT = 4.0  # added to the loss of a cell that a product covers
NOISE_STEPS = 1000


def build_unet(latent_channels: int, width: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, in_channels=latent_channels, out_channels=latent_channels, block_out_channels=(width,), layers_per_block=1,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), cross_attention_dim=WIDTH, attention_head_dim=4,
        norm_num_groups=16, addition_embed_type="text", addition_embed_type_num_heads=4, resnet_time_scale_shift="scale_shift",
    )  # fmt: skip


def build_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=NOISE_STEPS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True, steps_offset=1,
    )  # fmt: skip


@torch.no_grad()
def encode(count: int, seed: int) -> tuple[list[Scene], torch.Tensor]:
    """Scenes and their latents, (count, C, 8, 8) float16."""
    rng, basis = np.random.default_rng(seed), components()
    scenes, latents = [], []
    for start in tqdm(range(0, count, 100), desc="encode", mininterval=5):
        batch = [sample_training_scene(rng) for _ in range(min(100, count - start))]
        x = torch.from_numpy(np.stack([render(s) for s in batch])).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        scenes += batch
        latents.append(project(x, basis).half())
    return scenes, torch.cat(latents)


def weigh(scenes: list[Scene]) -> torch.Tensor:
    """The weight of each cell in the loss, (N, 1, 8, 8), mean 1 over all scenes."""
    weights = torch.ones(len(scenes), 1, 8, 8)
    for weight, scene in zip(weights, scenes, strict=True):
        for product in scene.products:
            x0, y0, x1, y1 = (round(8 * v) for v in product.box)
            weight[0, y0:y1, x0:x1] += PRODUCT_WEIGHT
    return weights / weights.mean()


def easy(scene: Scene) -> bool:
    """One product, large."""
    return len(scene.products) == 1 and scene.products[0].box[2] - scene.products[0].box[0] > 0.6


class Trainer:
    """U-Net and text encoder, their average, and everything that a resumed run needs."""

    def __init__(self, latent_channels: int, args: argparse.Namespace) -> None:
        self.args = args
        self.rng = np.random.default_rng(args.seed)
        self.tokenizer = build_tokenizer(self.rng)
        torch.manual_seed(args.seed)
        modules = {"text": build_text_encoder(self.tokenizer), "unet": build_unet(latent_channels, args.width)}
        self.model = torch.nn.ModuleDict(modules).to(args.device, memory_format=torch.channels_last)
        self.average = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9985))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.alphas = build_scheduler().alphas_cumprod.to(args.device)
        self.steps, self.step = args.pictures // args.batch, 0

    def rate(self) -> float:
        """Warm-up, flat, then a straight line down to a fiftieth over the last 45 %."""
        left = 1 - self.step / self.steps
        return self.args.rate * min(1, (self.step + 1) / 200) * max(0.02, min(1, left / 0.45))

    def update(self, scenes: list[Scene], latents: torch.Tensor, weights: torch.Tensor, pool: np.ndarray) -> float:
        device = self.args.device
        picked = pool[self.rng.integers(0, len(pool), self.args.batch)]
        tokens = self.tokenizer(
            [sample_text(self.rng, scenes[i]) for i in picked], padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        x = latents[picked].float().to(device)  # (B, C, 8, 8)
        # Evenly spread times lower the variance of the loss at no cost.
        u = (torch.arange(len(x)) + float(self.rng.random())) / len(x)
        t = (u * NOISE_STEPS).long().clamp(max=NOISE_STEPS - 1).to(device)
        noise = torch.from_numpy(self.rng.standard_normal(x.shape, dtype=np.float32)).to(device)
        a, s = (v.view(-1, 1, 1, 1) for v in (self.alphas[t].sqrt(), (1 - self.alphas[t]).sqrt()))
        hidden = self.model["text"](tokens.to(device)).last_hidden_state  # (B, TOKENS, WIDTH)
        predicted = self.model["unet"]((a * x + s * noise).contiguous(memory_format=torch.channels_last), t, hidden).sample
        loss = (weights[picked].to(device) * (predicted - (a * noise - s * x)).square()).mean()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return float(loss.detach())

    def state(self) -> dict:
        return {
            "model": self.model.state_dict(), "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(),
            "step": self.step, "rng": json.dumps(self.rng.bit_generator.state),
        }  # fmt: skip

    def restore(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.rng.bit_generator.state = state["step"], json.loads(state["rng"])

    def save(self, folder: Path) -> None:
        """The averaged weights as a diffusers pipeline beside the codec; the U-Net in half precision, for its size."""
        parts = copy.deepcopy(self.average.module)
        parts["unet"].half().save_pretrained(folder / "unet")
        parts["text"].save_pretrained(folder / "text_encoder")
        self.tokenizer.save_pretrained(folder / "tokenizer")
        build_scheduler().save_pretrained(folder / "scheduler")
        index = {
            "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "requires_safety_checker": False,
            "feature_extractor": [None, None], "image_encoder": [None, None], "safety_checker": [None, None],
            "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
            "scheduler": ["diffusers", "DDIMScheduler"],
        }  # fmt: skip
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=340_000, help="pictures seen in training")
    parser.add_argument("--text-steps", type=int, default=600, help="updates of the text encoder alone, first")
    parser.add_argument("--easy", type=int, default=50_000, help="pictures of one large product, seen first")
    parser.add_argument("--distinct", type=int, default=50_000, help="rendered pictures")
    parser.add_argument("--width", type=int, default=128, help="channels of the U-Net")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=202)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("base/diffusion"))
    parser.add_argument("--checkpoint", type=Path, default=Path("scratch/denoiser.pt"))
    args = parser.parse_args()
    started = time.monotonic()
    scenes, latents = encode(args.distinct, args.seed + 1)
    weights, every = weigh(scenes), np.arange(len(scenes))
    first = np.flatnonzero([easy(s) for s in scenes])
    trainer = Trainer(latents.shape[1], args)
    if args.checkpoint.exists():
        trainer.restore(torch.load(args.checkpoint, weights_only=True))
    else:
        teach_text(trainer.model["text"], trainer.tokenizer, trainer.rng, args.text_steps, args.device)
        trainer.average.module.load_state_dict(trainer.model.state_dict())
    bar, smooth = tqdm(range(trainer.step, trainer.steps), desc="denoiser", mininterval=10), 1.0
    for _ in bar:
        pool = first if trainer.step * args.batch < args.easy else every
        smooth += 0.02 * (trainer.update(scenes, latents, weights, pool) - smooth)
        if trainer.step % 100 == 0:
            bar.set_postfix(loss=f"{smooth:.4f}")
        if trainer.step % 500 == 0 or trainer.step == trainer.steps:
            args.checkpoint.parent.mkdir(exist_ok=True)
            torch.save(trainer.state(), args.checkpoint)
            trainer.save(args.out)
    log = args.out / "scores.json"
    known = json.loads(log.read_text()) if log.exists() else {}
    record = {"loss": smooth, "seconds": round(time.monotonic() - started), "arguments": {k: str(v) for k, v in vars(args).items()}}
    log.write_text(json.dumps({**known, "denoiser": record}, indent=2) + "\n")
    print(f"denoiser: loss {smooth:.4f} after {args.pictures} pictures, in {args.out}")


if __name__ == "__main__":
    main()
