"""Scores of the small diffusion pipeline on prompts that training never saw, and its card.

    python -m base.recipes.score

500 held-out scenes give prompts that name one product and the background color; the reference classifier says whether
the picture shows both. Writes `base/diffusion/scores.json`, `README.md` and `samples.png`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from scipy.stats import binomtest
from tqdm import tqdm

from base.recipes.split import held_out
from boig.simulator.captions import picture_description
from boig.simulator.catalog import FAMILY
from boig.simulator.reference import Reference
from boig.simulator.render import Scene
from boig.simulator.scenes import sample_scene

CARD = """# A small diffusion pipeline of rendered product pictures

Stable-Diffusion-shaped (CLIP-style text encoder, AutoencoderKL, U-Net, DDIM), {millions:.1f} M parameters, 64 px,
float32 on a CPU. Loads with `StableDiffusionPipeline.from_pretrained("base/diffusion")`. It draws the pictograms of
`boig.simulator`; it has seen no like, no account and no real picture. Guidance 1.5–2.5 and 10–20 steps serve it best.

| measured on {prompts} prompts of combinations that training never saw ({steps} steps, guidance {guidance}) | share | 95 % interval |
| --- | --- | --- |
| prompted product found by the reference classifier | {product:.3f} | {product_lo:.3f}–{product_hi:.3f} |
| prompted background color family found | {background:.3f} | {background_lo:.3f}–{background_hi:.3f} |
| *ceiling*: product found after encoding and decoding rendered pictures of the scenes | {ceiling:.3f} | {ceiling_lo:.3f}–{ceiling_hi:.3f} |

Codec: {psnr:.1f} dB on unseen pictures. Recipe: `make base`, or the modules `base.recipes.codec`, `.denoiser`, `.score`; seeds, times
and arguments are in `scores.json`. Training data: rendered by the project itself. License: Apache-2.0.
"""


def held_out_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes of one product in a combination that training never sees."""
    rng, scenes = np.random.default_rng(seed), []
    while len(scenes) < count:
        scene = sample_scene(rng)
        if len(scene.products) == 1 and held_out(scene):
            scenes.append(scene)
    return scenes


def draw(pipe: StableDiffusionPipeline, prompts: list[str], steps: int, guidance: float, seed: int) -> np.ndarray:
    """One picture per prompt, uint8 (N, 64, 64, 3)."""
    generator, drawn = torch.Generator("cpu").manual_seed(seed), []
    for start in tqdm(range(0, len(prompts), 50), desc="draw"):
        batch = pipe(
            prompts[start : start + 50],
            num_inference_steps=steps,
            guidance_scale=guidance,
            height=64,
            width=64,
            generator=generator,
            output_type="np",
        )
        drawn.append((batch.images * 255).round().astype(np.uint8))
    return np.concatenate(drawn)


def share(name: str, found: list[bool]) -> dict[str, float]:
    """A share with its exact binomial 95 % interval."""
    interval = binomtest(sum(found), len(found)).proportion_ci(method="wilson")
    return {name: float(np.mean(found)), f"{name}_lo": interval.low, f"{name}_hi": interval.high}


def reconstruct(pipe: StableDiffusionPipeline, scenes: list[Scene]) -> np.ndarray:
    """The scenes' pictures after encoding and decoding, uint8 (N, 64, 64, 3)."""
    from boig.simulator.render import render

    x = torch.from_numpy(np.stack([render(s) for s in scenes])).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    with torch.no_grad():
        y = torch.cat([pipe.vae.decode(pipe.vae.encode(part.to(pipe.device)).latent_dist.mean).sample for part in x.split(50)])
    return y.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=404)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--base", type=Path, default=Path("base/diffusion"))
    args = parser.parse_args()
    scenes = held_out_scenes(args.prompts, args.seed)
    prompts = [picture_description(s, (False, True, False, False)) for s in scenes]
    pipe = StableDiffusionPipeline.from_pretrained(args.base, use_safetensors=True).to(args.device)
    pipe.set_progress_bar_config(disable=True)
    drawn = draw(pipe, prompts, args.steps, args.guidance, args.seed)
    reference = Reference.load(Path("base/reference"))
    facts, again = reference.facts(drawn), reference.facts(reconstruct(pipe, scenes))
    scores = {
        **share("product", [s.products[0].kind in {kind for kind, *_ in f.products} for s, f in zip(scenes, facts, strict=True)]),
        **share("background", [FAMILY[s.color] == f.background_family for s, f in zip(scenes, facts, strict=True)]),
        **share("ceiling", [s.products[0].kind in {kind for kind, *_ in f.products} for s, f in zip(scenes, again, strict=True)]),
        "prompts": args.prompts, "steps": args.steps, "guidance": args.guidance,
    }  # fmt: skip
    log = args.base / "scores.json"
    known = json.loads(log.read_text()) | {"pipeline": scores}
    log.write_text(json.dumps(known, indent=2) + "\n")
    size = sum(p.numel() for part in (pipe.unet, pipe.vae, pipe.text_encoder) for p in part.parameters())
    (args.base / "README.md").write_text(CARD.format(**scores, millions=size / 1e6, psnr=known["codec"]["psnr_db"]))
    sheet = drawn[:48].reshape(4, 12, 64, 64, 3).transpose(0, 2, 1, 3, 4).reshape(256, 768, 3)
    Image.fromarray(sheet).save(args.base / "samples.png")
    print("base: product {product:.3f}, background {background:.3f}, product after the codec alone {ceiling:.3f}".format(**scores))


if __name__ == "__main__":
    main()
