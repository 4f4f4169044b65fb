"""A random pipeline of the same classes as the default base, small enough to train in a test; briefs and a toy reward."""

from datetime import UTC, datetime

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from boig.brief import Brief
from boig.diffusion.rollout import Scored
from boig.diffusion.settings import Group, Lora, Optimizer, Sampling

V_PREDICTION = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "steps_offset": 1}
EPSILON = {"prediction_type": "epsilon", "beta_start": 0.00085, "beta_end": 0.012, "set_alpha_to_one": False, "steps_offset": 1}


LORA = Lora(rank=4, alpha=4, targets=("to_q", "to_v", "conv1", "conv2", "time_emb_proj"))
OPTIMIZER = Optimizer(learning_rate=1e-2, warmup_iterations=0, weight_decay=1e-4, max_grad_norm=1.0, ema=0.5)
SHARED = {"lora": LORA, "optimizer": OPTIMIZER, "sampling": Sampling(steps=3, guidance=1.0, kpi=None)}
GROUP = Group(
    iterations=6, steps=4, eta=1.0, guidance=1.0, prompts=2, group=8, chunk=8, chunks_per_update=1, epochs=1, skip_last=1, window=0,
    trained_steps=0, clip=1e-3, advantage_clip=5.0, kl=0.01, kl_every=2, weights={"total": 1.0, "diversity": 0.1}, **SHARED,
)  # fmt: skip


def tiny_pipeline(**scheduler) -> StableDiffusionPipeline:
    """16-px pictures, 4 × 4 × 4 latents, a U-Net whose text conditioning is pooled as in the default base."""
    letters = [chr(c) for c in range(33, 127)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = CLIPTextConfig(
            vocab_size=len(tokens), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=32, bos_token_id=len(tokens) - 2, eos_token_id=len(tokens) - 1, pad_token_id=len(tokens) - 1,
        )  # fmt: skip
        text = CLIPTextModel(config)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, block_out_channels=(8, 8, 16),
            layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=16, mid_block_add_attention=False, scaling_factor=0.5,
        )  # fmt: skip
        unet = UNet2DConditionModel(
            sample_size=4, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16, attention_head_dim=8, addition_embed_type="text", addition_embed_type_num_heads=2,
        )  # fmt: skip
    schedule = DDIMScheduler(**({"beta_schedule": "scaled_linear", "clip_sample": False} | (scheduler or V_PREDICTION)))
    return StableDiffusionPipeline(vae, text, tokenizer, unet, schedule, None, None, requires_safety_checker=False)


BRIEFS = [(Brief(str(i), "acme", "", datetime(2024, 1, 1, tzinfo=UTC), f"cup {i}"), f"a cup {i}") for i in range(3)]


def redness(briefs: list[Brief], pictures: np.ndarray) -> Scored:
    """A reward that a few updates can raise."""
    return Scored(pictures[..., 0].astype(float).mean((1, 2)), {"brief": np.array([float(b.post_id) for b in briefs])})
