"""Whether a picture shows what was asked for: products and background named in the prompt, words of the prompt seen in it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from boig.verbalizer.form import Verbalization
from boig.verbalizer.palette import NAMES

_GROUND = re.compile(r"\bon an? ([a-z ]+?) background\b")
TEXT = "text"
"""Label of a line of text, which is no product."""
_PATTERNS = ("striped", "dotted", "gradient")


@dataclass(frozen=True)
class Asked:
    """What a prompt names, in words that can be checked in a picture."""

    products: tuple[str, ...]
    """Labels, in the order of `labels`."""
    ground: str
    """Palette name of the background; empty where the prompt does not say."""
    words: tuple[str, ...]
    """All checkable words: labels, color names in words, patterns, and `TEXT`."""


def color_words(name: str) -> str:
    """A palette name as words: Dark_Blue → dark blue."""
    return name.replace("_", " ").lower()


_COLORS = {color_words(name): name for name in sorted(NAMES, key=lambda n: (-len(n), n))}  # longest first: dark blue before blue


def _pattern(words: Iterable[str]) -> re.Pattern:
    ordered = sorted(words, key=lambda w: (-len(w), w))
    return re.compile(r"\b(" + "|".join(map(re.escape, ordered)) + r")(?:e?s)?\b") if ordered else re.compile(r"(?!)")


def asked(prompt: str, labels: tuple[str, ...]) -> Asked:
    """What the prompt names.

    Args:
        prompt: the text for the diffusion model.
        labels: the product words that can be found in pictures; singular and plural are one word.
    """
    text = prompt.lower()
    labels = tuple(dict.fromkeys(label.lower() for label in labels if label != TEXT))
    named = set(_pattern(labels).findall(text))
    products = tuple(label for label in labels if label in named)
    colors = dict.fromkeys(_pattern(_COLORS).findall(text))
    patterns = [p for p in _PATTERNS if re.search(rf"\b{p}\b", text)]
    ground = _GROUND.search(text)
    found = _pattern(_COLORS).findall(ground[1]) if ground else []
    extra = [TEXT] if re.search(r"\bwith text\b", text) else []
    return Asked(products, _COLORS[found[0]] if found else "", (*products, *colors, *patterns, *extra))


def mismatch(wanted: Asked, shown: Verbalization) -> bool | None:
    """Whether one of the named products is not among the objects; None where the prompt names none."""
    if not wanted.products:
        return None
    return not set(wanted.products) <= {o.label.lower() for o in shown.objects}


def word_score(wanted: Asked, shown: Verbalization) -> float | None:
    """Share of the prompt's checkable words that the verbalized picture contains, 0–1; None where it has none.

    The default text–picture score: no CLIP weights ship with the project, and words are what the default verbalizer sees.
    """
    if not wanted.words:
        return None
    seen = {o.label.lower() for o in shown.objects} | {color_words(c.name) for c in shown.colors}
    caption = shown.caption.lower()
    return sum(word in seen or re.search(rf"\b{re.escape(word)}\b", caption) is not None for word in wanted.words) / len(wanted.words)
