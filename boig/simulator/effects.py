"""The terms of the law of likes: what about a post moves its likes, before any scale.

Each term is a plain function of the weights and one case (a post and its picture). Picture terms read `PictureFacts` only, beside the
brief that the picture stands in; context terms never read the picture. All are smooth or linear in the pixels' shares, and main effects
outweigh interactions: what an audience likes has a structure that can be learnt.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from boig.brief import Brief
from boig.feed.text import LINK, MENTION
from boig.simulator.accounts import Account
from boig.simulator.catalog import FAMILY, INDUSTRIES, KINDS, OCCASIONS, SEASONS
from boig.simulator.facts import PictureFacts
from boig.simulator.posts import season_of
from boig.verbalizer.palette import NAMES

FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(FAMILY[name] for name in NAMES))
_MEMBERS = np.array([[FAMILY[name] == family for name in NAMES] for family in FAMILIES], dtype=float)  # (14, 40)
_WORD = re.compile(r"[a-z]+")
CAPTION_CUES = ("question", "exclamation", "link", "mention", "tags", "moment")


@dataclass(frozen=True)
class Weights:
    """All that is drawn from the law's seed, but for the accounts. Plain lists and dicts, so that it is JSON."""

    color: dict[str, float]
    """Per family: what its coverage is worth to everybody."""
    industry_color: dict[str, dict[str, float]]
    """Per industry and family: what its coverage is worth to this industry's audience beyond that."""
    tone: dict[str, float]
    """warm and cool: what their share is worth."""
    season_tone: dict[str, float]
    """Per season: what the share of warm minus that of cool pixels is worth."""
    kind: dict[str, dict[str, float]]
    """Per industry and product kind: what showing it is worth."""
    side: float
    """Best side of the main product's box, share of the picture's side."""
    place: tuple[float, float]
    """Best center of the main product's box."""
    text: float
    """Sign of a line of text."""
    contrast: float
    """Sign of contrast."""
    weekday: tuple[float, ...]
    """Monday first."""
    hour: tuple[float, float]
    """Best hour, UTC, and the weight of the second harmonic."""
    cues: dict[str, float]
    """Per caption cue."""
    occasion: dict[str, float]
    """Per occasion that the caption names."""


def draw_weights(rng: np.random.Generator) -> Weights:
    """A few strong weights and many weak ones, in each group."""
    return Weights(
        color=_few_strong(rng, FAMILIES, liked=4, disliked=4),
        industry_color={industry: _few_strong(rng, FAMILIES, liked=2, disliked=2) for industry in INDUSTRIES},
        tone={"warm": float(rng.choice((-1.0, 1.0))), "cool": float(rng.uniform(-0.5, 0.5))},
        season_tone=dict(zip(SEASONS, (rng.choice((-1.0, 1.0)) * np.array([1.0, 0.3, -1.0, -0.3])).tolist(), strict=True)),
        kind={industry: {k: float((k in INDUSTRIES[industry]) + rng.normal(0, 0.4)) for k in KINDS} for industry in INDUSTRIES},
        side=float(rng.uniform(0.52, 0.66)),
        place=(float(rng.uniform(0.42, 0.58)), float(rng.uniform(0.5, 0.62))),
        text=float(rng.choice((-1.0, 1.0))),
        contrast=float(rng.choice((-1.0, 1.0))),
        weekday=tuple(rng.normal(0, 1, 7).tolist()),
        hour=(float(rng.uniform(0, 24)), float(rng.uniform(-0.4, 0.4))),
        cues={cue: float(v) for cue, v in zip(CAPTION_CUES, rng.choice((-1.0, 1.0), 6) * rng.uniform(0.3, 1.0, 6), strict=True)},
        occasion={o: float(v) for o, v in zip(OCCASIONS, rng.normal(0, 0.7, len(OCCASIONS)), strict=True)},
    )


def _few_strong(rng: np.random.Generator, names: tuple[str, ...], liked: int, disliked: int) -> dict[str, float]:
    order = rng.permutation(len(names))
    values = rng.normal(0, 0.1, len(names))
    values[order[:liked]] += rng.uniform(0.7, 1.2, liked)
    values[order[liked : liked + disliked]] -= rng.uniform(0.7, 1.2, disliked)
    return dict(zip(names, values.tolist(), strict=True))


@dataclass(frozen=True)
class Case:
    """A post with a picture, and what several terms need of them."""

    brief: Brief
    facts: PictureFacts
    account: Account
    """Who posts; its industry and its brand color decide, whatever the brief says."""
    families: dict[str, float]
    """Coverage per family."""
    named: tuple[str, ...]
    """Kinds that the caption names."""
    main: tuple[str, tuple[float, float, float, float]] | None
    """The advertised product if it is shown, else the largest one; none in an empty picture."""

    @classmethod
    def of(cls, brief: Brief, facts: PictureFacts, account: Account) -> "Case":
        words = set(_WORD.findall(brief.caption.lower()))
        named = tuple(kind for kind in KINDS if kind in words)
        families = dict(zip(FAMILIES, (_MEMBERS @ np.array(facts.coverages)).tolist(), strict=True))
        main = max(facts.products, key=lambda p: (p[0] in named, _area(p[1])), default=None)
        return cls(brief, facts, account, families, named, main)


def _area(box: tuple[float, float, float, float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _bump(distance: float, width: float) -> float:
    return float(np.exp(-0.5 * (distance / width) ** 2))


def shows(w: Weights, c: Case) -> float:
    """Minus the share of the products named in the caption that the picture does not show."""
    shown = {kind for kind, _ in c.facts.products}
    return -sum(kind not in shown for kind in c.named) / max(1, len(c.named))


def color(w: Weights, c: Case) -> float:
    """Coverages, each times what its color family is worth to everybody."""
    return sum(w.color[family] * share for family, share in c.families.items())


def industry_color(w: Weights, c: Case) -> float:
    """Coverages, each times what its family is worth to this industry's audience beyond that."""
    taste = w.industry_color[c.account.industry]
    return sum(taste[family] * share for family, share in c.families.items())


def brand(w: Weights, c: Case) -> float:
    """Coverage of the account's brand color."""
    return c.families[FAMILY[c.account.brand]]


def tone(w: Weights, c: Case) -> float:
    """Shares of warm and cool pixels, times their worth."""
    warm, _, cool = c.facts.tones
    return w.tone["warm"] * warm + w.tone["cool"] * cool


def season_tone(w: Weights, c: Case) -> float:
    """Warm minus cool, times what the season makes of it."""
    warm, _, cool = c.facts.tones
    return w.season_tone[season_of(c.brief.created_at)] * (warm - cool)


def kind(w: Weights, c: Case) -> float:
    """What the shown kinds are worth in this industry, on average."""
    worth = w.kind[c.account.industry]
    kinds = [k for k, _ in c.facts.products]
    return sum(worth[k] for k in kinds) / max(1, len(kinds))


def size(w: Weights, c: Case) -> float:
    """How near the main product's side is to the best one, 0–1; 0 without a product."""
    return _bump(np.sqrt(_area(c.main[1])) - w.side, 0.14) if c.main else 0.0


def place(w: Weights, c: Case) -> float:
    """How near the main product's center is to the best place, 0–1; 0 without a product."""
    if not c.main:
        return 0.0
    x0, y0, x1, y1 = c.main[1]
    return _bump(np.hypot((x0 + x1) / 2 - w.place[0], (y0 + y1) / 2 - w.place[1]), 0.16)


def text(w: Weights, c: Case) -> float:
    """A line of text, for or against."""
    return w.text * c.facts.has_text


def contrast(w: Weights, c: Case) -> float:
    """Contrast, saturating, for or against."""
    return w.contrast * np.tanh(c.facts.contrast / 0.2)


def weekday(w: Weights, c: Case) -> float:
    """The weekday's worth."""
    return w.weekday[c.brief.created_at.weekday()]


def hour(w: Weights, c: Case) -> float:
    """A wave over the day with one best hour, UTC."""
    now = c.brief.created_at.hour + c.brief.created_at.minute / 60
    angle = 2 * np.pi * (now - w.hour[0]) / 24
    return float(np.cos(angle) + w.hour[1] * np.cos(2 * angle))


def caption(w: Weights, c: Case) -> float:
    """Cues of the caption and the occasions that it names, each times its worth."""
    said = c.brief.caption
    words = _WORD.findall(said.lower())
    occasions = [o for o in OCCASIONS if o in words or f"{o}s" in words]
    cues = {
        "question": "?" in said, "exclamation": "!" in said, "link": LINK in said, "mention": MENTION in said,
        "tags": min(said.count("#"), 3) / 3, "moment": bool(occasions),
    }  # fmt: skip
    return sum(w.cues[cue] * value for cue, value in cues.items()) + sum(w.occasion[o] for o in occasions)


Term = Callable[[Weights, Case], float]
PICTURE_TERMS: dict[str, tuple[Term, float]] = {
    "shows": (shows, 0.23), "color": (color, 0.25), "industry_color": (industry_color, 0.09), "brand": (brand, 0.04), "tone": (tone, 0.07),
    "season_tone": (season_tone, 0.04), "kind": (kind, 0.04), "size": (size, 0.09), "place": (place, 0.06), "text": (text, 0.07),
    "contrast": (contrast, 0.02),
}  # fmt: skip
"""Term and its share of the pictures' part of the variance, taken alone (terms are correlated: colors have tones)."""
CONTEXT_TERMS: dict[str, tuple[Term, float]] = {"weekday": (weekday, 0.25), "hour": (hour, 0.35), "caption": (caption, 0.40)}
"""Term and its share of the context's part of the variance."""
