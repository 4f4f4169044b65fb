"""What the law sees of a picture: numbers from its pixels, and which products and text are in it."""

from dataclasses import dataclass

import numpy as np

from boig.simulator.render import Box
from boig.verbalizer.palette import shares

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class PictureFacts:
    """One picture, as the law sees it."""

    coverages: tuple[float, ...]
    """Share of the picture under each of the 40 palette names, in the palette's order; sums to 1."""
    tones: tuple[float, ...]
    """Shares of warm, neutral and cool pixels; sums to 1."""
    contrast: float
    """Standard deviation of luma over the pixels, luma in 0–1."""
    products: tuple[tuple[str, Box], ...]
    """Kind and box of each product that is shown."""
    has_text: bool
    """Whether a line of text is in it."""


def measure(pictures: np.ndarray, products: list[tuple[tuple[str, Box], ...]], has_text: list[bool]) -> list[PictureFacts]:
    """Facts of pictures whose products and text are already known, from the scene or from the reference classifier.

    Args:
        pictures: uint8 (N, H, W, 3).
        products: N tuples of (kind, box).
        has_text: N flags.

    Raises:
        ValueError: the three do not have one length, or the pictures have another dtype or shape.
    """
    if not len(pictures) == len(products) == len(has_text):
        raise ValueError(f"{len(pictures)} pictures, {len(products)} product lists, {len(has_text)} text flags; give one each per picture")
    coverages, tones = shares(pictures)  # (N, 40), (N, 3)
    contrast = (pictures @ _LUMA / 255.0).std(axis=(1, 2))  # (N,)
    return [
        PictureFacts(tuple(c.tolist()), tuple(t.tolist()), float(k), tuple(p), bool(x))
        for c, t, k, p, x in zip(coverages, tones, contrast, products, has_text, strict=True)
    ]
