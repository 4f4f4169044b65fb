"""The denoiser of the small diffusion pipeline: U-Net and text encoder trained together on the codec's latents.

    python -m base.recipes.denoiser --pictures 300000 --device cpu

Needs `base/diffusion/vae` (base.recipes.codec). Choices, with their reasons:
- v-prediction, zero terminal SNR, trailing spacing (Lin et al. 2023, arXiv 2305.08891): without it, flat backgrounds of
  a prompted color cannot be drawn, since sampling would start from noise whose mean the network has learnt to trust.
- The pooled text also enters the time embedding, as scale and shift: at this size cross-attention alone learns the
  product last, the global path learns it first.
- A tenth of the (product, background color, product color) combinations is never trained on; `score.py` prompts those.
- Captions: post captions (what is advertised) and descriptions (how it looks), a tenth empty for guidance.
A checkpoint every 2,000 steps; the same command resumes.
"""

import argparse
import copy
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from boig.simulator.captions import random_caption, random_description
from boig.simulator.render import Scene, render
from boig.simulator.scenes import sample_scene

TOKENS = 32
WIDTH = 128
EMPTY_SHARE, POST_SHARE = 0.1, 0.4
NOISE_STEPS = 1000


def held_out(scene: Scene) -> bool:
    """Whether a scene shows a combination that training never sees."""
    keys = (f"{p.kind}|{scene.color}|{p.color}" for p in scene.products)
    return any(hashlib.sha256(key.encode()).digest()[0] % 10 == 0 for key in keys)


def sample_training_scene(rng: np.random.Generator) -> Scene:
    """A random scene without held-out combinations."""
    while held_out(scene := sample_scene(rng)):
        pass
    return scene


def sample_text(rng: np.random.Generator, scene: Scene) -> str:
    """A post caption, a description, or nothing."""
    roll = rng.random()
    if roll < EMPTY_SHARE:
        return ""
    if roll < EMPTY_SHARE + POST_SHARE:
        return random_caption(rng, tuple(p.kind for p in scene.products))
    return random_description(rng, scene)


def build_tokenizer(rng: np.random.Generator) -> CLIPTokenizer:
    """A CLIP tokenizer over the words of the captions; letters spell what it does not know."""
    texts = [sample_text(rng, sample_scene(rng)) for _ in range(20_000)]
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[a-z]+|[0-9]|[^\sa-z0-9]+"), "removed", invert=True)
    letters = [chr(c) for c in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=1024, special_tokens=["<|startoftext|>", "<|endoftext|>"], initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    parts = json.loads(tokenizer.to_str())["model"]
    vocab = dict(parts["vocab"])
    for letter in letters:  # a letter at the end of a word is a token of its own
        vocab.setdefault(f"{letter}</w>", len(vocab))
    return CLIPTokenizer(vocab=vocab, merges=[tuple(m) for m in parts["merges"]], model_max_length=TOKENS)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=TOKENS, projection_dim=WIDTH, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def build_unet(latent_channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, in_channels=latent_channels, out_channels=latent_channels, block_out_channels=(96, 160), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2, cross_attention_dim=WIDTH,
        attention_head_dim=4, norm_num_groups=16, addition_embed_type="text", addition_embed_type_num_heads=4, resnet_time_scale_shift="scale_shift",
    )  # fmt: skip


def build_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=NOISE_STEPS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True, steps_offset=1,
    )  # fmt: skip


@torch.no_grad()
def encode(vae: AutoencoderKL, count: int, seed: int, device: str) -> tuple[list[Scene], torch.Tensor]:
    """Scenes and their scaled latents, (count, C, 8, 8) float16."""
    rng = np.random.default_rng(seed)
    scenes, latents = [], []
    for start in tqdm(range(0, count, 100), desc="encode", mininterval=5):
        batch = [sample_training_scene(rng) for _ in range(min(100, count - start))]
        x = torch.from_numpy(np.stack([render(s) for s in batch])).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        z = vae.encode(x.to(device)).latent_dist.mean * vae.config.scaling_factor
        scenes += batch
        latents.append(z.half().cpu())
    return scenes, torch.cat(latents)


class Trainer:
    """U-Net and text encoder, their average, and everything that a resumed run needs."""

    def __init__(self, vae: AutoencoderKL, args: argparse.Namespace) -> None:
        self.args = args
        self.rng = np.random.default_rng(args.seed)
        self.tokenizer = build_tokenizer(self.rng)
        torch.manual_seed(args.seed)
        modules = {"text": build_text_encoder(self.tokenizer), "unet": build_unet(vae.config.latent_channels)}
        self.model = torch.nn.ModuleDict(modules).to(args.device, memory_format=torch.channels_last)
        self.average = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9985))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.alphas = build_scheduler().alphas_cumprod.to(args.device)
        self.steps, self.step = args.pictures // args.batch, 0

    def rate(self) -> float:
        """Warm-up, flat, then a straight line down to a fiftieth over the last 45 %."""
        left = 1 - self.step / self.steps
        return self.args.rate * min(1, (self.step + 1) / 200) * max(0.02, min(1, left / 0.45))

    def update(self, scenes: list[Scene], latents: torch.Tensor) -> float:
        device = self.args.device
        picked = self.rng.integers(0, len(scenes), self.args.batch)
        tokens = self.tokenizer([sample_text(self.rng, scenes[i]) for i in picked], padding="max_length", truncation=True, return_tensors="pt").input_ids
        x = latents[picked].float().to(device)  # (B, C, 8, 8)
        # Evenly spread times lower the variance of the loss at no cost.
        u = (torch.arange(len(x)) + float(self.rng.random())) / len(x)
        t = (u * NOISE_STEPS).long().clamp(max=NOISE_STEPS - 1).to(device)
        noise = torch.from_numpy(self.rng.standard_normal(x.shape, dtype=np.float32)).to(device)
        a, s = (v.view(-1, 1, 1, 1) for v in (self.alphas[t].sqrt(), (1 - self.alphas[t]).sqrt()))
        hidden = self.model["text"](tokens.to(device)).last_hidden_state  # (B, TOKENS, WIDTH)
        predicted = self.model["unet"]((a * x + s * noise).contiguous(memory_format=torch.channels_last), t, hidden).sample
        loss = (predicted - (a * noise - s * x)).square().mean()
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
            "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "feature_extractor": [None, None], "image_encoder": [None, None],
            "requires_safety_checker": False, "safety_checker": [None, None], "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        }  # fmt: skip
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=300_000, help="pictures seen in training")
    parser.add_argument("--distinct", type=int, default=50_000, help="rendered pictures")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=202)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("base/diffusion"))
    parser.add_argument("--checkpoint", type=Path, default=Path("scratch/denoiser.pt"))
    args = parser.parse_args()
    started = time.monotonic()
    vae = AutoencoderKL.from_pretrained(args.out / "vae").to(args.device).eval()
    scenes, latents = encode(vae, args.distinct, args.seed + 1, args.device)
    trainer = Trainer(vae, args)
    if args.checkpoint.exists():
        trainer.restore(torch.load(args.checkpoint, weights_only=True))
    bar, smooth = tqdm(range(trainer.step, trainer.steps), desc="denoiser", mininterval=10), 1.0
    for _ in bar:
        smooth += 0.02 * (trainer.update(scenes, latents) - smooth)
        if trainer.step % 100 == 0:
            bar.set_postfix(loss=f"{smooth:.4f}")
        if trainer.step % 2000 == 0 or trainer.step == trainer.steps:
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
