"""Alignment at the paper's size on one GPU: networks of Stable Diffusion 1.5's shape, ours beside DDPO as published.

    python -m bench.paper_scale               # a GPU of 80 GB; five minutes; writes bench/results/paper_scale.json
    python -m bench.paper_scale --compiled    # ours once more, compiled, beside what is there; another five, most of it the compiler's
    python -m bench.paper_scale --small --device cpu --dtype float32 --out /dev/null        # that it runs at all; a minute

Weights are random, on which neither speed nor memory depends; so nothing is said of quality, and the reward is the brightness, which costs
nothing. Ours has the parameters of `profiles/paper.yaml`, DDPO those of `params.yaml` with the same adapter: 50 steps drawn and trained,
guidance in both. A step is one chunk drawn, decoded, scored and trained on, with one update. Where a chunk does not fit in memory, half of
it is tried, and so on. The matrix product that a share is of runs in the same process.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

from boig.brief import Brief
from boig.diffusion.algorithms.ddpo import PublishedDdpo
from boig.diffusion.algorithms.group import GroupRelative
from boig.diffusion.learner import Learner
from boig.diffusion.pipeline import DTYPES, add_adapter, speed_up
from boig.diffusion.rollout import Scored, at_once
from boig.diffusion.text import TextCache
from boig.diffusion.training import Algorithm
from boig.diffusion.world import World
from boig.sections.align_boigsd import AlignBoigsd
from flows.workspace import overlay

OUT = Path("bench/results/paper_scale.json")
OURS, PEER = "boigsd", "ddpo"
MAKERS: dict[str, Callable[..., Algorithm]] = {OURS: GroupRelative, PEER: PublishedDdpo}
STEPS, PROMPTS, SIDE = 3, 64, 8192
"""Timed steps after one that is not; prompts to draw from; rows of the matrix product."""
SMALL = 16
"""How many times narrower the networks of `--small` are."""


def pipeline(small: bool, device: str, dtype: str) -> StableDiffusionPipeline:
    """Networks of Stable Diffusion 1.5's shape with random weights, or narrow ones."""
    thin = SMALL if small else 1
    groups, latent = (4, 16) if small else (32, 64)
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=latent, block_out_channels=tuple(c // thin for c in (320, 640, 1280, 1280)), cross_attention_dim=768 // thin,
            norm_num_groups=groups, attention_head_dim=4 if small else 8,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=tuple(c // thin for c in (128, 256, 512, 512)), layers_per_block=2, sample_size=8 * latent,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=groups,
        )  # fmt: skip
        text = CLIPTextModel(
            CLIPTextConfig(hidden_size=768 // thin, intermediate_size=3072 // thin, num_attention_heads=12, num_hidden_layers=12)
        )
    tokenizer = AutoTokenizer.from_pretrained("base/diffusion/tokenizer", local_files_only=True)
    tokenizer.model_max_length = 77
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )
    pipe = StableDiffusionPipeline(vae, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    for network in (unet, vae, text):
        network.requires_grad_(False).eval()
    return pipe.to(device, DTYPES[dtype])


def algorithm(pipe: StableDiffusionPipeline, section: AlignBoigsd, method: str, chunk: int) -> Algorithm:
    """One that takes a chunk a step."""
    brief = [Brief(f"{i}", "account", "", datetime(2024, 1, 1, tzinfo=UTC), "") for i in range(PROMPTS)]
    prompts = [(b, f"a red shoe on a white table, {i}") for i, b in enumerate(brief)]
    settings: Any = getattr(section, method)
    rollout = {"prompts": 2, "group": chunk // 2} if method == OURS else {"pictures": chunk, "prompts": PROMPTS}
    settings = settings.model_copy(update=rollout | {"chunk": chunk, "chunks_per_update": 1, "lora": section.boigsd.lora})
    add_adapter(pipe, settings.lora, section.seed)
    learner, texts = Learner(pipe, settings.optimizer, World()), TextCache(pipe)
    return MAKERS[method](pipe, learner, settings, prompts, at_once(brightness), texts, section.seed)


def brightness(_: list[Brief], pictures: np.ndarray) -> Scored:
    """A reward that costs nothing."""
    total = pictures.mean((1, 2, 3), dtype=np.float64)
    return Scored(total, {"mismatch": np.zeros(len(total))})


def measure(pipe: StableDiffusionPipeline, section: AlignBoigsd, method: str, chunk: int, compiled: bool) -> dict:
    """Some steps of one chunk each.

    Raises:
        torch.OutOfMemoryError: the chunk does not fit.
    """
    training = algorithm(pipe, section, method, chunk)
    speed_up(pipe, channels_last=section.base.channels_last, compiled=compiled)
    counts, cuda = training.learner.progress.counts, pipe.device.type == "cuda"
    flops = 0.0
    begun = time.perf_counter()
    if compiled:  # what is compiled counts nothing
        training.step(0)
    else:
        with FlopCounterMode(display=False) as counter:
            training.step(0)
        flops = counter.get_total_flops() / chunk
    first_s, forwards = time.perf_counter() - begun, counts.unet_forwards / counts.pictures
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds, rows = [], []
    for iteration in range(1, STEPS + 1):
        training.learner.progress.iteration = iteration
        begun = time.perf_counter()
        rows.append(training.step(iteration))  # ends with numbers on the CPU: nothing is left to wait for
        seconds.append(time.perf_counter() - begun)
    return {
        "method": method, "compiled": compiled, "chunk": chunk, "pictures_per_s": round(chunk / float(np.median(seconds)), 3),
        "seconds": [round(s, 3) for s in seconds], "first_s": round(first_s, 1), "unet_forwards_per_picture": forwards,
        "tflop_per_picture": round(flops / 1e12, 2), "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if cuda else None,
        "start_ratio_error": max(row["start_ratio_error"] for row in rows), "clip_fraction": rows[-1]["clip_fraction"],
    }  # fmt: skip


def fitting(pipe: StableDiffusionPipeline, section: AlignBoigsd, method: str, chunk: int, compiled: bool = False) -> Iterator[dict]:
    """The measurement of the largest chunk that fits, after a row for each that does not."""
    while chunk >= 2:
        try:
            yield measure(pipe, section, method, chunk, compiled)
            return
        except torch.OutOfMemoryError:
            yield {"method": method, "compiled": compiled, "chunk": chunk, "pictures_per_s": None, "fits": False}
        gc.collect()
        torch.cuda.empty_cache()
        chunk //= 2


def product_tflops(device: str, dtype: str) -> float:
    """TFLOP/s of a large matrix product."""
    side = SIDE if device.startswith("cuda") else SIDE // 16
    left, right = (torch.randn(side, side, device=device, dtype=DTYPES[dtype]) for _ in range(2))
    for _ in range(3):
        left @ right
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    begun = time.perf_counter()
    for _ in range(10):
        left @ right
    wait()
    return 10 * 2 * side**3 / (time.perf_counter() - begun) / 1e12


def main() -> None:
    """Run both, write the result after each measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--small", action="store_true", help="narrow networks: a rehearsal")
    parser.add_argument("--compiled", action="store_true", help="ours, compiled, beside what the result has of the same machine")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    machine = torch.cuda.get_device_name() if asked.device.startswith("cuda") else asked.device
    machine += f", torch {torch.__version__}"
    rows = before(asked.out, machine) if asked.compiled else []
    section = AlignBoigsd.model_validate(overlay(Path.cwd(), "paper")["align_boigsd"])
    pipe = pipeline(asked.small, asked.device, asked.dtype)
    product = product_tflops(asked.device, asked.dtype)
    for method in (OURS,) if asked.compiled else (OURS, PEER):
        for row in fitting(pipe, section, method, 4 if asked.small else section.boigsd.chunk, asked.compiled):
            print(json.dumps(row), flush=True)
            rows.append(row | share_of(product, row))
            write(asked.out, rows, product, machine, asked.dtype)


def before(out: Path, machine: str) -> list[dict]:
    """What was measured on this machine without the compiler.

    Raises:
        SystemExit: nothing was.
    """
    found = json.loads(out.read_text()) if out.is_file() else {}
    if found.get("machine") != machine:
        raise SystemExit(f"bench: {out} has nothing of {machine}; run without --compiled first")
    return [row for row in found["measurements"] if not row["compiled"]]


def write(out: Path, rows: list[dict], product: float, machine: str, dtype: str) -> None:
    """The result so far."""
    known = {row["method"]: row["pictures_per_s"] for row in rows if row["pictures_per_s"] and not row["compiled"]}
    ours, peer = known.get(OURS), known.get(PEER)
    result = {
        "ours": ours,
        "peer": peer,
        "peer_name": "DDPO as published (re-implemented here, float32 trajectory)",
        "ratio": round(ours / peer, 1) if ours and peer else None,
        "unit": "pictures drawn, scored and trained on a second, one GPU",
        "measurements": rows,
        "product_tflops": round(product, 1),
        "runs": STEPS,
        "machine": machine,
        "held_equal": f"networks, random weights, adapter, {dtype}, memory format, a reward that costs nothing",
    }
    out.write_text(json.dumps(result, indent=1) + "\n")


def share_of(product: float, row: dict) -> dict[str, float]:
    """Of the matrix product's speed, where the work was counted."""
    return (
        {"share_of_product": round(row["tflop_per_picture"] * row["pictures_per_s"] / product, 3)} if row.get("tflop_per_picture") else {}
    )


if __name__ == "__main__":
    main()
