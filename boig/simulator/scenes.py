"""Random scenes: products on a grid of 8 px (at 64 px), three sizes, a background that the product stands out from."""

import numpy as np

from boig.simulator.catalog import BACKGROUND_COLORS, BACKGROUNDS, FAMILY, KINDS, LOOKS, PRODUCT_COLORS, SLOGANS
from boig.simulator.render import Box, Product, Scene

_CELLS = 8  # grid positions a side
SIZES = {"small": 3, "medium": 4, "large": 5}  # cells a side


def _pick(rng: np.random.Generator, options, weights=None):
    p = None if weights is None else np.asarray(weights, float) / np.sum(weights)
    return options[int(rng.choice(len(options), p=p))]


def _boxes(rng: np.random.Generator, count: int, size: int) -> list[Box]:
    """`count` boxes beside each other that do not overlap."""
    if count > 1:
        size = 3 if count == 2 else 2
    slot = _CELLS // max(count, 1)
    boxes = []
    for i in range(count):
        x = i * slot + int(rng.integers(0, max(slot - size, 0) + 1))
        y = int(rng.integers(1, _CELLS - size + 1)) if size < 5 else int(rng.integers(1, 3))
        boxes.append((x / _CELLS, y / _CELLS, (x + size) / _CELLS, (y + size) / _CELLS))
    return boxes


def stands_out(color: str, background: str) -> bool:
    """Whether a product of that color can be told from the background."""
    close = (("white", "cream"), ("blue", "dark blue"), ("dark blue", "black"), ("red", "brown"), ("purple", "dark blue"))
    a, b = FAMILY[color], FAMILY[background]
    return a != b and not {(a, b), (b, a)} & set(close)


def sample_scene(
    rng: np.random.Generator,
    kinds: tuple[str, ...] | None = None,
    color_weights: np.ndarray | None = None,
    slogan_rate: float = 0.25,
) -> Scene:
    """A random scene.

    Args:
        rng: source of randomness.
        kinds: the products to show, at most three; None draws none (5 %), one (75 %), two (15 %) or three (5 %).
        color_weights: (14,) preference over `BACKGROUND_COLORS`; None is uniform.
        slogan_rate: share of scenes with a line of text.
    """
    if kinds is None:
        count = int(rng.choice(4, p=(0.05, 0.75, 0.15, 0.05)))
        kinds = tuple(_pick(rng, KINDS) for _ in range(count))
    color = _pick(rng, BACKGROUND_COLORS, color_weights)
    background = _pick(rng, BACKGROUNDS, (0.4, 0.25, 0.2, 0.15))
    second = color if background == "plain" else _pick(rng, [c for c in BACKGROUND_COLORS if FAMILY[c] != FAMILY[color]])
    size = SIZES[_pick(rng, tuple(SIZES), (0.3, 0.4, 0.3))]
    products = tuple(
        Product(kind, int(rng.integers(len(LOOKS[kind]))), _pick(rng, [c for c in PRODUCT_COLORS if stands_out(c, color)]), box)
        for kind, box in zip(kinds, _boxes(rng, len(kinds), size), strict=True)
    )
    slogan = _pick(rng, SLOGANS) if rng.random() < slogan_rate else ""
    # Text keeps clear of the products where it can.
    low = max((p.box[3] for p in products), default=0.0)
    slogan_at = "bottom" if low <= 0.8 and rng.random() < 0.5 else "top"
    return Scene(background, color, second, products, slogan, slogan_at)
