"""The picture that a description asks for, drawn by the simulator: what BoigLLM wants, without a diffusion model in between."""

import re

from boig.evaluation.agreement import TEXT, asked, color_words
from boig.simulator.catalog import KINDS
from boig.simulator.render import Box, Product, Scene
from boig.verbalizer.form import ObjectBox, Verbalization
from boig.verbalizer.palette import NAMES

_PATTERN_WORDS = {"striped": "stripes", "dotted": "dots", "gradient": "gradient"}
_MAX_PRODUCTS = 3
_MIN_SIDE = 0.125  # one cell of the scenes' grid
_SLOGAN = "NEW"  # a description says that there is text, not which
_COLORS = {color_words(name): name for name in sorted(NAMES, key=lambda n: (-len(n), n))}  # longest first: dark blue before blue


def scene_of(description: Verbalization) -> Scene:
    """The scene in which the description comes true as far as the simulator can draw it.

    The background takes the color that the caption names for it, or else the largest one; a pattern takes the next; a
    product takes the color its noun has in the caption, or else the largest color that is not the background's. A line of
    text is an object too, and says whether it stands above or below. Objects of unknown labels are left out.
    """
    caption = description.caption.lower()
    named = [c.name for c in description.colors]
    ground = asked(caption, KINDS).ground or (named[0] if named else "White")
    pattern = next((drawn for word, drawn in _PATTERN_WORDS.items() if word in caption), "plain")
    others = [name for name in named if name != ground]
    second = ground if pattern == "plain" or not others else others[0]
    products = tuple(_product(o, caption, others) for o in description.objects if o.label in KINDS)[:_MAX_PRODUCTS]
    lines = [o.box for o in description.objects if o.label == TEXT]
    slogan = _SLOGAN if lines or "with text" in caption else ""
    low = bool(lines) and lines[0][1] + lines[0][3] > 1
    return Scene(pattern, ground, second, products, slogan, "bottom" if low else "top")


def _product(shown: ObjectBox, caption: str, others: list[str]) -> Product:
    noun = re.search(rf"\b({'|'.join(_COLORS)}) {re.escape(shown.label)}\b", caption)
    color = _COLORS[noun[1]] if noun else next(iter(others), "Red")
    return Product(shown.label, 0, color, _drawable(shown.box))


def _drawable(box: Box) -> Box:
    """The box inside the picture, with the right order of corners and at least one cell a side."""
    x0, x1 = sorted(min(max(v, 0.0), 1.0) for v in (box[0], box[2]))
    y0, y1 = sorted(min(max(v, 0.0), 1.0) for v in (box[1], box[3]))
    x0, y0 = min(x0, 1 - _MIN_SIDE), min(y0, 1 - _MIN_SIDE)
    return (x0, y0, max(x1, x0 + _MIN_SIDE), max(y1, y0 + _MIN_SIDE))
