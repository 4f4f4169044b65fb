"""Scores of a grid network on unseen rendered pictures, as drawn and after the codec that blurs them."""

from pathlib import Path

import numpy as np
import torch

from base.recipes.grid_data import TEXT, Truth, off_grid, patch_basis, through_codec, truth_of
from boig.evaluation.bootstrap import Estimate, estimate
from boig.simulator.reference import Reference
from boig.simulator.render import render
from boig.simulator.scenes import sample_scene
from boig.verbalizer.form import ObjectBox
from boig.verbalizer.grid_detector import GridDetector
from boig.verbalizer.matching import match

_KEPT = 32  # principal components of a patch: a codec of about 28 dB, worse than the shipped VAE


def unseen(seed: int, count: int, moved: bool) -> tuple[np.ndarray, list[Truth]]:
    """Rendered pictures (count, 64, 64, 3) uint8 and what they show; `moved` takes products off the renderer's grid."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng) for _ in range(count)]
    if moved:
        scenes = [off_grid(rng, scene) for scene in scenes]
    return np.stack([render(scene) for scene in scenes]), [truth_of(scene) for scene in scenes]


def blurry(pictures: np.ndarray) -> np.ndarray:
    """The pictures through a codec that keeps 32 of 192 components of each patch; uint8."""
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    out = through_codec(batch, patch_basis(pictures), torch.full((len(pictures),), _KEPT))
    return out.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def objects_scores(truths: list[Truth], found: list[tuple[ObjectBox, ...]], seed: int) -> dict[str, Estimate]:
    """Label accuracy and IoU of products and text lines, and boxes that belong to nothing, clustered by picture."""
    matches = [match(truth.objects, objects) for truth, objects in zip(truths, found, strict=True)]
    picture = [i for i, m in enumerate(matches) for _ in m.right]
    product = [(o.label != TEXT) for truth in truths for o in truth.objects]
    right = [float(r) for m in matches for r in m.right]
    ious = [v for m in matches for v in m.ious]

    def of(values: list[float], keep: list[bool]) -> Estimate:
        return estimate(
            [v for v, k in zip(values, keep, strict=True) if k], [c for c, k in zip(picture, keep, strict=True) if k], seed=seed
        )

    text = [not p for p in product]
    return {
        "label_accuracy": of(right, product), "mean_iou": of(ious, product),
        "text_found": of(right, text), "text_iou": of(ious, text),
        "spurious_per_picture": estimate([float(m.spurious) for m in matches], range(len(matches)), seed=seed),
    }  # fmt: skip


def scores(folder: Path, seed: int, threshold: float = 0.5, count: int = 2000) -> dict[str, Estimate]:
    """Every score of the network in `folder` by name; names end with the kind of picture where it is not the plain one."""
    result: dict[str, Estimate] = {}
    detector = GridDetector.load(folder, threshold)
    plain, moved = unseen(seed, count, moved=False), unseen(seed + 1, count, moved=True)
    for suffix, pictures, truths in (("", *plain), ("_off_grid", *moved), ("_blurry", blurry(plain[0]), plain[1])):
        by_name = objects_scores(truths, detector.detect(pictures), seed)
        if detector.net.config.families:
            facts = Reference(detector).facts(pictures)
            family = [float(f.background_family == t.family) for f, t in zip(facts, truths, strict=True)]
            text = [float(f.has_text == t.text) for f, t in zip(facts, truths, strict=True)]
            by_name |= {name: estimate(v, range(count), seed=seed) for name, v in (("background_family", family), ("has_text", text))}
        result |= {name + suffix: value for name, value in by_name.items()}
    return result
