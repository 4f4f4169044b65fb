"""The simulated accounts: who posts, what about, in which voice, at which hours, in which colors."""

from dataclasses import dataclass

import numpy as np

from boig.simulator.captions import VOICES
from boig.simulator.catalog import BACKGROUND_COLORS, INDUSTRIES

_FIRST = ("Lu", "Ve", "Ka", "Mi", "Sol", "No", "Ari", "Ta", "Bel", "Ori", "Fen", "Ju")
_LAST = ("mora", "stia", "line", "velle", "dora", "rix", "nova", "bria", "tessa", "lund", "quo", "mere")
_TAGLINES = (
    "{name}: {industry} for people who look twice.",
    "All about {industry}, every day. This is {name}.",
    "{name}. Independent {industry} brand since 1998.",
    "The {industry} company that answers. Hello from {name}!",
)


@dataclass(frozen=True)
class Account:
    """One account and its habits. Its level of likes is the law's business, not here."""

    name: str
    """User name."""
    industry: str
    """One of `catalog.INDUSTRIES`."""
    description: str
    """Profile text; names the industry and no other one."""
    followers: int
    voice: str
    """The voice of most of its posts, one of `captions.VOICES`."""
    hours: tuple[int, ...]
    """Favored posting hours, UTC."""
    brand: str
    """Palette name of its brand color, one of `catalog.BACKGROUND_COLORS`."""
    color_weights: tuple[float, ...]
    """Preference over `catalog.BACKGROUND_COLORS`; sums to 1."""
    dressed_share: float
    """Share of its pictures for a named occasion that wear the occasion's colors instead."""
    own_share: float
    """Share of its posts about its own industry's products."""
    slogan_rate: float
    """Share of its pictures with a line of text."""
    activity: float
    """Relative number of posts."""


def draw_accounts(rng: np.random.Generator, per_industry: int) -> tuple[Account, ...]:
    """`per_industry` accounts for each industry, by industry.

    Raises:
        ValueError: more accounts than there are names.
    """
    count = per_industry * len(INDUSTRIES)
    names = [first + last for first in _FIRST for last in _LAST]
    if count > len(names):
        raise ValueError(f"{per_industry} accounts per industry need {count} names, there are {len(names)}; ask for fewer")
    picked = iter(rng.permutation(len(names))[:count].tolist())
    return tuple(_account(rng, names[next(picked)], industry) for industry in INDUSTRIES for _ in range(per_industry))


def _account(rng: np.random.Generator, name: str, industry: str) -> Account:
    brand = int(rng.integers(len(BACKGROUND_COLORS)))
    # Every color stays possible, so that what an account never tried can still be learnt from others.
    weights = 0.5 / len(BACKGROUND_COLORS) + 0.3 * rng.dirichlet(np.full(len(BACKGROUND_COLORS), 0.8))
    weights[brand] += 0.2
    return Account(
        name=name,
        industry=industry,
        description=_TAGLINES[int(rng.integers(len(_TAGLINES)))].format(name=name, industry=industry),
        followers=int(10 ** rng.uniform(3.5, 6.0)),
        voice=VOICES[int(rng.integers(len(VOICES)))],
        hours=tuple(sorted(rng.choice(np.arange(6, 23), size=4, replace=False).tolist())),
        brand=BACKGROUND_COLORS[brand],
        color_weights=tuple((weights / weights.sum()).tolist()),
        dressed_share=float(rng.uniform(0.6, 0.8)),
        own_share=float(rng.uniform(0.65, 0.85)),
        slogan_rate=float(rng.uniform(0.15, 0.45)),
        activity=float(rng.uniform(0.7, 1.3)),
    )
