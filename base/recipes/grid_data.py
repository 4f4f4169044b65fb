"""Training pictures of the grid networks: rendered scenes, roughened so that generated pictures are recognized too.

A diffusion model's pictures are a little blurry, its products sit between the renderer's grid positions, its colors
drift. So half of the scenes get moved and stretched products, and most pictures get one of: blur, a codec that keeps
a few principal components of each 8×8 patch (what a small VAE does), JPEG; then noise and a color shift.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from boig.simulator.catalog import BACKGROUND_COLORS, FAMILY, KINDS
from boig.simulator.render import Box, Scene, render, slogan_box
from boig.simulator.scenes import sample_scene
from boig.verbalizer.form import ObjectBox
from boig.verbalizer.grid_detector import GRID

TEXT = "text"
LABELS: tuple[str, ...] = (*KINDS, TEXT)
FAMILIES: tuple[str, ...] = tuple(FAMILY[color] for color in BACKGROUND_COLORS)
_POSITIVE, _IGNORED = 0.55, 1.0  # cells: a center this near (each axis) makes a cell positive; between the two it is not trained


@dataclass(frozen=True)
class Truth:
    """What a scene's picture shows."""

    objects: tuple[ObjectBox, ...]
    family: str
    text: bool


@dataclass(frozen=True)
class Batch:
    """Pictures with grid targets."""

    pictures: Tensor
    """(B, 3, 64, 64) floats in 0–255."""
    classes: Tensor
    """(B, labels, 8, 8): 1 where an object of the label has its center, 0 elsewhere."""
    weight: Tensor
    """(B, labels, 8, 8): 0 where a cell is too near a center to be called empty."""
    sides: Tensor
    """(B, 4, 8, 8) distances to the box's sides in cells; meaningful at positive cells."""
    family: Tensor
    """(B,) index into `FAMILIES`."""
    text: Tensor
    """(B,) 1 where a line of text is written."""


def _moved(rng: np.random.Generator, box: Box) -> Box:
    """The box stretched by up to 15 % and moved by up to half a grid cell, inside the picture."""
    width, height = (box[2] - box[0]) * rng.uniform(0.85, 1.15), (box[3] - box[1]) * rng.uniform(0.85, 1.15)
    x = min(max((box[0] + box[2] - width) / 2 + rng.uniform(-0.06, 0.06), 0.0), 1.0 - width)
    y = min(max((box[1] + box[3] - height) / 2 + rng.uniform(-0.06, 0.06), 0.0), 1.0 - height)
    return (x, y, x + width, y + height)


def off_grid(rng: np.random.Generator, scene: Scene) -> Scene:
    """The scene with its products moved off the renderer's grid."""
    return replace(scene, products=tuple(replace(p, box=_moved(rng, p.box)) for p in scene.products))


def truth_of(scene: Scene) -> Truth:
    """Objects, background family and text of a scene."""
    objects = tuple(ObjectBox(p.kind, p.box) for p in scene.products)
    line = slogan_box(scene)
    return Truth(objects + ((ObjectBox(TEXT, line),) if line else ()), FAMILY[scene.color], line is not None)


def through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """The picture after JPEG compression, uint8 (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _targets(truth: Truth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    classes = np.zeros((len(LABELS), GRID, GRID), np.float32)
    weight = np.ones((len(LABELS), GRID, GRID), np.float32)
    sides = np.zeros((4, GRID, GRID), np.float32)
    centers = np.arange(GRID) + 0.5
    for found in truth.objects:
        x0, y0, x1, y1 = (v * GRID for v in found.box)
        dx, dy = np.abs(centers - (x0 + x1) / 2)[None, :], np.abs(centers - (y0 + y1) / 2)[:, None]
        here = np.maximum(dx, dy) <= _POSITIVE
        weight[:, np.maximum(dx, dy) <= _IGNORED] = 0.0
        classes[LABELS.index(found.label), here] = 1.0
        column, row = np.broadcast_to(centers[None, :], here.shape), np.broadcast_to(centers[:, None], here.shape)
        sides[:, here] = np.stack([column - x0, row - y0, x1 - column, y1 - row])[:, here]
    weight[:, classes.any(0)] = 1.0
    return classes, weight, sides


class Pool:
    """Rendered scenes from which batches are drawn; each batch replaces the oldest scenes by new ones."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.size, self.oldest = rng, size, 0
        self.pictures = np.empty((size, 64, 64, 3), np.uint8)
        self.classes = np.empty((size, len(LABELS), GRID, GRID), np.float32)
        self.weight = np.empty_like(self.classes)
        self.sides = np.empty((size, 4, GRID, GRID), np.float32)
        self.family, self.text = np.empty(size, np.int64), np.empty(size, np.float32)
        self._renew(size)

    def _renew(self, count: int) -> None:
        for i in (np.arange(self.oldest, self.oldest + count) % self.size).tolist():
            scene = sample_scene(self.rng)
            if self.rng.random() < 0.5:
                scene = off_grid(self.rng, scene)
            picture, truth = render(scene), truth_of(scene)
            self.pictures[i] = through_jpeg(picture, int(self.rng.integers(30, 90))) if self.rng.random() < 0.15 else picture
            self.classes[i], self.weight[i], self.sides[i] = _targets(truth)
            self.family[i], self.text[i] = FAMILIES.index(truth.family), truth.text
        self.oldest = (self.oldest + count) % self.size

    def batches(self, count: int, batch_size: int, renewed: int, device: str) -> Iterator[Batch]:
        """`count` roughened batches; `renewed` scenes are new each time."""
        basis = patch_basis(self.pictures[:2000]).to(device)
        generator = torch.Generator().manual_seed(int(self.rng.integers(2**31)))
        for _ in range(count):
            pick = self.rng.integers(0, self.size, batch_size)
            arrays = (self.classes[pick], self.weight[pick], self.sides[pick], self.family[pick], self.text[pick])
            pictures = torch.from_numpy(self.pictures[pick]).permute(0, 3, 1, 2).float().to(device)
            yield Batch(roughen(pictures, basis, generator), *(torch.from_numpy(a).to(device) for a in arrays))
            self._renew(renewed)


def patch_basis(pictures: np.ndarray) -> Tensor:
    """Principal directions of 8×8 patches, (192, 192), strongest first, of uint8 (N, 64, 64, 3) pictures."""
    patches = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().unfold(2, 8, 8).unfold(3, 8, 8)  # (N, 3, 8, 8, 8, 8)
    rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 192) - 127.5
    _, vectors = torch.linalg.eigh((rows.T @ rows / len(rows)).double())  # ascending
    return vectors.flip(1).float()


def through_codec(pictures: Tensor, basis: Tensor, kept: Tensor) -> Tensor:
    """(B, 3, 64, 64) pictures with `kept` (B,) principal components of each patch left."""
    size = len(pictures)
    patches = (pictures - 127.5).reshape(size, 3, 8, 8, 8, 8).permute(0, 2, 4, 1, 3, 5).reshape(size, 64, 192)
    codes = patches @ basis * (torch.arange(192, device=pictures.device) < kept[:, None].to(pictures.device))[:, None, :]
    return (codes @ basis.T).reshape(size, 8, 8, 3, 8, 8).permute(0, 3, 1, 4, 2, 5).reshape(size, 3, 64, 64) + 127.5


def blurred(pictures: Tensor) -> Tensor:
    """(B, 3, 64, 64) pictures at half resolution, back at full size."""
    return functional.interpolate(functional.avg_pool2d(pictures, 2), scale_factor=2, mode="bilinear", align_corners=False)


def roughen(pictures: Tensor, basis: Tensor, generator: torch.Generator) -> Tensor:
    """A quarter of the batch through the codec, a quarter blurred; then noise and color shifts on half of the pictures each."""
    size, device = len(pictures), pictures.device
    quarter = size // 4

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (torch.rand(shape, generator=generator) * (high - low) + low).to(device)

    def half() -> Tensor:
        return (torch.rand((size, 1, 1, 1), generator=generator) < 0.5).float().to(device)

    kept = torch.randint(12, 64, (quarter,), generator=generator)
    mix = uniform(0.3, 1.0, quarter, 1, 1, 1)
    soft = pictures[quarter : 2 * quarter]
    pictures = torch.cat([
        through_codec(pictures[:quarter], basis, kept), soft + (blurred(soft) - soft) * mix, pictures[2 * quarter :],
    ])  # fmt: skip
    noise = torch.randn(pictures.shape, generator=generator).to(device) * uniform(1.0, 10.0, size, 1, 1, 1)
    shift = uniform(-6.0, 6.0, size, 3, 1, 1) + (pictures - 127.5) * uniform(-0.07, 0.07, size, 1, 1, 1)
    return (pictures + noise * half() + shift * half()).clamp(0.0, 255.0)
