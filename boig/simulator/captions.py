"""Text of the simulated world: what an account writes under a picture, and what a picture shows.

A post's caption says what is advertised (product, occasion, season, voice), not how it looks; the description of a
picture says how it looks. Base models are trained on both.
"""

import numpy as np

from boig.simulator.catalog import OCCASIONS, SEASONS
from boig.simulator.render import Scene

_OPENERS = {
    "bold": ("The {p} you have been waiting for!", "This {p} changes everything.", "Stop scrolling: our {p} is here!", "One {p} to rule them all!"),
    "warm": ("We made this {p} with love.", "A little {p} for someone you miss.", "Our favorite {p}, from us to you.", "Good days start with a {p}."),
    "plain": ("New {p} in store.", "Our {p}, now available.", "Meet the new {p}.", "The {p} is back."),
    "question": ("Have you seen our new {p}?", "Which {p} is yours?", "Ready for a new {p}?", "Who needs a new {p}?"),
}  # fmt: skip
VOICES: tuple[str, ...] = tuple(_OPENERS)
_NO_PRODUCT = {
    "bold": "Big news is coming!",
    "warm": "Thank you for being with us.",
    "plain": "News from our team.",
    "question": "What would you like to see next?",
}
_MOMENTS = (" Made for {o} and {s}.", " Perfect for {s} {o}s.", " Your {s} {o} will thank you.", " For every {o} this {s}.")


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]


def post_caption(
    rng: np.random.Generator, kinds: tuple[str, ...], voice: str, season: str | None = None, occasion: str | None = None
) -> str:
    """The sentence part of a post's caption, without tags, mentions and links.

    Args:
        rng: source of randomness.
        kinds: advertised products; the first ones are named.
        voice: one of `VOICES`.
        season, occasion: named when given.
    """
    if voice not in _OPENERS:
        raise ValueError(f"voice must be one of {VOICES}, got {voice!r}")
    text = _pick(rng, _OPENERS[voice]).format(p=" and ".join(dict.fromkeys(kinds))) if kinds else _NO_PRODUCT[voice]
    if season and occasion:
        text += _pick(rng, _MOMENTS).format(o=occasion, s=season)
    return text


def random_caption(rng: np.random.Generator, kinds: tuple[str, ...]) -> str:
    """A post caption with random voice, and a season and occasion half of the time."""
    moment = (str(rng.choice(SEASONS)), str(rng.choice(OCCASIONS))) if rng.random() < 0.5 else (None, None)
    return post_caption(rng, kinds, str(rng.choice(VOICES)), *moment)


def words(name: str) -> str:
    """A palette name as words: Dark_Blue → dark blue."""
    return name.replace("_", " ").lower()


def article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def picture_description(scene: Scene, named: tuple[bool, bool, bool, bool] = (True, True, True, True)) -> str:
    """What the picture shows, in the form the template captioner writes.

    Args:
        scene: what is drawn.
        named: whether to name the products' colors, the background's color, its pattern, the line of text.
    """
    with_color, with_ground, with_pattern, with_text = named
    nouns = [article(f"{words(p.color)} {p.kind}" if with_color else p.kind) for p in scene.products]
    text = ", ".join(nouns[:-1]) + (" and " if len(nouns) > 1 else "") + nouns[-1] if nouns else "no product"
    pattern = {"gradient": "gradient", "stripes": "striped", "dots": "dotted", "plain": "plain"}[scene.background]
    ground = " ".join(([words(scene.color)] if with_ground else []) + ([pattern] if with_pattern else []))
    if ground:
        text += f" on {article(ground)} background"
    if scene.slogan and with_text:
        text += ", with text"
    return text


def random_description(rng: np.random.Generator, scene: Scene) -> str:
    """A description that names each kind of attribute, or not, at random."""
    color, ground, pattern, text = (bool(b) for b in rng.random(4) < (0.4, 0.75, 0.35, 0.5))
    return picture_description(scene, (color, ground, pattern, text))
