"""What writes the sentence: the interface of captioners, and the template captioner of the default.

The template captioner writes the form on which the base diffusion model was trained ("a red shoe and a blue cup on a dark
blue striped background, with text"), so that a description can be a prompt. It says what detections and pixels show.
"""

from typing import Protocol

import numpy as np

from boig.verbalizer.form import ColorShare, ObjectBox
from boig.verbalizer.ground import Ground, background, body_color, cover, outside
from boig.verbalizer.palette import name_indices

TEXT = "text"
"""Label of a line of text: named in the sentence's tail, not among the products."""
_PATTERN_WORDS = {"plain": "plain", "gradient": "gradient", "stripes": "striped", "dots": "dotted"}


class Captioner(Protocol):
    """Says in one sentence what each picture shows."""

    model_id: str
    """Name and revision, and prompt: part of a verbalization's version."""

    def caption(self, pictures: np.ndarray, objects: list[tuple[ObjectBox, ...]], colors: list[tuple[ColorShare, ...]]) -> list[str]:
        """One sentence per picture of a uint8 (B, H, W, 3) batch.

        Raises:
            ValueError: no usable sentence for one of the pictures; says why.
        """
        ...


def words(name: str) -> str:
    """A palette name as words: Dark_Blue → dark blue."""
    return name.replace("_", " ").lower()


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def sentence(products: list[tuple[str, str]], ground: Ground, with_text: bool) -> str:
    """The template.

    Args:
        products: (palette name or "", label), in the order to name them.
        ground: the background's color and pattern.
        with_text: whether a line of text is seen.
    """
    nouns = [article(f"{words(color)} {label}" if color else label) for color, label in products]
    text = ", ".join(nouns[:-1]) + (" and " if len(nouns) > 1 else "") + nouns[-1] if nouns else "no product"
    pattern = [_PATTERN_WORDS[ground.pattern]] if ground.pattern else []
    text += f" on {article(' '.join([words(ground.color), *pattern]))} background"
    return text + (", with text" if with_text else "")


class TemplateCaptioner:
    """Products from left to right with their colors, the background's color and pattern, and whether there is text."""

    model_id = "template"

    def caption(self, pictures: np.ndarray, objects: list[tuple[ObjectBox, ...]], colors: list[tuple[ColorShare, ...]]) -> list[str]:
        """See `Captioner`. Never fails."""
        names = name_indices(pictures)
        return [_one(*row) for row in zip(pictures, names, objects, strict=True)]


def _one(picture: np.ndarray, names: np.ndarray, objects: tuple[ObjectBox, ...]) -> str:
    """picture (H, W, 3) uint8 and the palette index of each pixel (H, W)."""
    height, width = names.shape
    mask = outside(height, width, [o.box for o in objects])
    covered = cover(names, mask)
    ground = background(picture, covered, mask)
    seen = sorted((o for o in objects if o.label != TEXT), key=lambda o: (o.box[0] + o.box[2], o.label))
    products = [(body_color(names, o.box, covered, mask), o.label) for o in seen]
    return sentence(products, ground, any(o.label == TEXT for o in objects))
