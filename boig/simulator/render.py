"""Scenes and their pictures: what is in a rendered picture is known exactly, since we drew it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from boig.simulator.catalog import LOOKS
from boig.verbalizer.palette import PALETTE

Box = tuple[float, float, float, float]
_OVERSAMPLE = 4
_INK, _PAPER = (28, 28, 32), (248, 247, 242)


@dataclass(frozen=True)
class Product:
    """One product of a scene."""

    kind: str
    """One of `catalog.KINDS`."""
    look: int
    """Which of the kind's shapes."""
    color: str
    """A palette name, the color of the product's body."""
    box: Box
    """(x0, y0, x1, y1) in 0–1 of the picture, x to the right, y down."""


@dataclass(frozen=True)
class Scene:
    """Everything that decides a picture's pixels."""

    background: str
    """One of `catalog.BACKGROUNDS`."""
    color: str
    """Palette name of the background."""
    second: str
    """Palette name of the gradient's end, the stripes or the dots; equal to `color` on a plain background."""
    products: tuple[Product, ...] = ()
    """At most three, drawn in this order."""
    slogan: str = ""
    """A line of text; empty for none."""
    slogan_at: str = "top"
    """`top` or `bottom`."""


def _shade(rgb: tuple[int, int, int], factor: float) -> tuple[int, ...]:
    """Towards black below 1, towards white above."""
    target, weight = (0, 1 - factor) if factor <= 1 else (255, factor - 1)
    return tuple(round(c + (target - c) * weight) for c in rgb)


def _background(scene: Scene, side: int) -> Image.Image:
    first, second = (np.array(PALETTE[name], dtype=np.float32) for name in (scene.color, scene.second))
    if scene.background == "gradient":
        # The first color keeps the larger part, so that the scene still has *a* background color.
        weight = np.clip((np.linspace(0, 1, side, dtype=np.float32) - 0.45) / 0.55, 0, 1)[:, None, None] * 0.8
        rows = first * (1 - weight) + second * weight
        return Image.fromarray(np.broadcast_to(rows, (side, side, 3)).round().astype(np.uint8))
    picture = Image.new("RGB", (side, side), PALETTE[scene.color])
    draw = ImageDraw.Draw(picture)
    fill = tuple(((first + second) / 2).round().astype(int).tolist())
    step = side // 4
    if scene.background == "stripes":
        for x in range(0, side, step):
            draw.rectangle((x, 0, x + step // 3, side), fill=fill)
    elif scene.background == "dots":
        radius = step // 6
        for x in range(step // 2, side, step):
            for y in range(step // 2, side, step):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    return picture


def _draw_product(draw: ImageDraw.ImageDraw, product: Product, side: int) -> None:
    body = PALETTE[product.color]
    dark = _shade(body, 0.6) if sum(body) > 90 else _shade(body, 1.35)
    paint = {"body": body, "dark": dark, "light": _shade(body, 1.5), "ink": _INK, "paper": _PAPER}
    x0, y0, x1, y1 = (v * side for v in product.box)
    width = max(2, side // 128)
    for shape, coords, role in LOOKS[product.kind][product.look]:
        points = [x0 + (x1 - x0) * c if i % 2 == 0 else y0 + (y1 - y0) * c for i, c in enumerate(coords)]
        if shape == "rect":
            draw.rectangle(points, fill=paint[role], outline=_INK, width=width)
        elif shape == "ellipse":
            draw.ellipse(points, fill=paint[role], outline=_INK, width=width)
        elif shape == "arc":
            draw.ellipse(points, outline=paint[role], width=max(3, round((x1 - x0) * 0.09)))
        else:
            draw.polygon(points, fill=paint[role], outline=_INK, width=width)


def render(scene: Scene, size: int = 64) -> np.ndarray:
    """The scene's picture: uint8 (size, size, 3), the same bytes for the same scene."""
    side = size * _OVERSAMPLE
    picture = _background(scene, side)
    draw = ImageDraw.Draw(picture)
    for product in scene.products:
        _draw_product(draw, product, side)
    if scene.slogan:
        dark_ground = sum(PALETTE[scene.color]) < 380
        y = side * (0.1 if scene.slogan_at == "top" else 0.9)
        font = ImageFont.load_default(size=side * 0.17)
        draw.text((side / 2, y), scene.slogan, fill=_PAPER if dark_ground else _INK, font=font, anchor="mm")
    return np.asarray(picture.reduce(_OVERSAMPLE))


def slogan_box(scene: Scene) -> Box | None:
    """Where `render` writes the line of text, (x0, y0, x1, y1) in 0–1; None without one."""
    if not scene.slogan:
        return None
    side = 64 * _OVERSAMPLE
    x0, y0, x1, y1 = ImageFont.load_default(size=side * 0.17).getbbox(scene.slogan, anchor="mm")
    y = side * (0.1 if scene.slogan_at == "top" else 0.9)
    x0, y0, x1, y1 = np.clip(np.array([side / 2 + x0, y + y0, side / 2 + x1, y + y1]) / side, 0.0, 1.0).tolist()
    return x0, y0, x1, y1
