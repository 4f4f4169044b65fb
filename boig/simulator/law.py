"""The law of likes of the simulated feed. For `simulate` and `evaluate` alone: nothing that trains may import it.

    log1p(likes) = account level + slow trend + context (weekday, hour, caption) + picture + noise

All of it is drawn from one seed, the accounts too. Raw terms (`effects`) are scaled on a reference sample drawn from the same seed, so that
picture, context and noise make up the wanted shares of the variance within an account, around its trend, whatever the seed.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from boig.brief import Brief
from boig.simulator.accounts import Account, draw_accounts
from boig.simulator.effects import CONTEXT_TERMS, PICTURE_TERMS, Case, Term, Weights, draw_weights
from boig.simulator.facts import PictureFacts, measure
from boig.simulator.posts import Post, brief_of, draw_posts
from boig.simulator.render import render

SHARES = {"picture": 0.45, "context": 0.20, "noise": 0.35}
"""Wanted shares of the variance of log1p(likes) within an account, around its trend."""
SPREAD = 0.8
"""Standard deviation of log1p(likes) within an account, around its trend."""
MISMATCH_SHARE = 0.08
"""Share of posts whose picture does not show what the caption names."""
EPOCH = datetime(2022, 1, 1, tzinfo=UTC)
"""Where trends start."""
MONTH_DAYS = 30.4
MONTHS = 24
"""Length over which levels and trends are meant."""
_DEGREES, _CLIP = 5.0, 5.0  # Student's t, clipped: without a bound the expectation of exp(noise) would be infinite
_REFERENCE_POSTS, _REFERENCE_PX = 1500, 64


@dataclass(frozen=True)
class Course:
    """The part of an account's likes that no post decides."""

    level: float
    """log1p(likes) of a middling post at `EPOCH`."""
    slope: float
    """Growth of log1p(likes) over `MONTHS`."""
    swell: float
    """Amplitude of a slow wave."""
    phase: float
    """Of that wave, radians."""

    def at(self, when: datetime) -> float:
        share = (when - EPOCH).total_seconds() / (MONTH_DAYS * 86400 * MONTHS)
        return self.level + self.slope * share + self.swell * float(np.sin(2 * np.pi * 1.3 * share + self.phase))


@dataclass(frozen=True)
class Scale:
    """A raw term's place in the law: gain × (raw − center)."""

    center: float
    gain: float


@dataclass(frozen=True)
class Drift:
    """Another taste that the same accounts' audience has from some moment on."""

    since: str
    """ISO 8601, UTC."""
    weights: Weights
    scales: dict[str, Scale]
    """Per term."""


@dataclass(frozen=True)
class Law:
    """See the module. Equal seeds give equal laws."""

    seed: int
    accounts: tuple[Account, ...]
    courses: dict[str, Course]
    """Per account name."""
    weights: Weights
    scales: dict[str, Scale]
    """Per term."""
    drift: Drift | None = None

    @classmethod
    def from_seed(cls, seed: int, accounts_per_industry: int = 4, drift: tuple[datetime, int] | None = None) -> "Law":
        """Draw accounts, courses and weights, then scale them on the reference sample (takes some seconds).

        Args:
            seed: of all of it.
            accounts_per_industry: there are six industries.
            drift: when the taste changes, and the seed of the other one's weights.
        """
        rng = np.random.default_rng([seed, 1])
        accounts = draw_accounts(rng, accounts_per_industry)
        levels = rng.permutation(np.linspace(4.6, 8.0, len(accounts)))
        courses = {
            a.name: Course(float(level), float(rng.uniform(-0.1, 0.35)), float(rng.uniform(0.02, 0.1)), float(rng.uniform(0, 2 * np.pi)))
            for a, level in zip(accounts, levels, strict=True)
        }
        weights = draw_weights(rng)
        posts = draw_posts(seed + 2**31, accounts, _REFERENCE_POSTS, EPOCH, MONTHS, MISMATCH_SHARE)
        scales = _scales(*_reference(posts, accounts, weights))
        if drift is None:
            return cls(seed, accounts, courses, weights, scales)
        since, other_seed = drift
        others = draw_weights(np.random.default_rng([other_seed, 2]))
        changed = Drift(since.isoformat(), others, _scales(*_reference(posts, accounts, others)))
        return cls(seed, accounts, courses, weights, scales, changed)

    def account(self, name: str) -> Account:
        """Raises ValueError for an account that is not of this law."""
        found = _by_name(self.accounts).get(name)
        if found is None:
            raise ValueError(f"account {name!r} is not of the law with seed {self.seed}; the law of the feed is data/feed/truth/law.json")
        return found

    def case(self, brief: Brief, facts: PictureFacts) -> Case:
        return Case.of(brief, facts, self.account(brief.account))

    def terms(self, case: Case) -> dict[str, float]:
        """Each term's contribution to log1p(likes), zero on average over the reference sample."""
        drifted = self.drift and case.brief.created_at >= datetime.fromisoformat(self.drift.since)
        taste = self.drift if self.drift and drifted else self
        return {name: taste.scales[name].gain * (term(taste.weights, case) - taste.scales[name].center) for name, term in _ALL.items()}

    def save(self, path: Path) -> None:
        """As JSON; equal laws give equal bytes."""
        content = {name: value for name, value in asdict(self).items() if name != "drift" or value is not None}
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Law":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no such file: the feed is not a simulated one, or was not simulated yet.
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"{path} is missing; run `dvc repro simulate` (only a simulated feed has a law)")
        raw = json.loads(Path(path).read_text())
        accounts = tuple(Account(**_tuples(a)) for a in raw["accounts"])
        courses = {name: Course(**c) for name, c in raw["courses"].items()}
        drift = raw.get("drift")
        changed = Drift(drift["since"], Weights(**_tuples(drift["weights"])), _read_scales(drift["scales"])) if drift else None
        return cls(raw["seed"], accounts, courses, Weights(**_tuples(raw["weights"])), _read_scales(raw["scales"]), changed)


_ALL: dict[str, Term] = {name: term for name, (term, _) in (PICTURE_TERMS | CONTEXT_TERMS).items()}


def _read_scales(raw: dict[str, dict[str, float]]) -> dict[str, Scale]:
    return {name: Scale(**scale) for name, scale in raw.items()}


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


@cache
def _by_name(accounts: tuple[Account, ...]) -> dict[str, Account]:
    return {a.name: a for a in accounts}


def _reference(posts: list[Post], accounts: tuple[Account, ...], weights: Weights) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Raw terms, each (N,), and the account of each post, (N,)."""
    known = _by_name(accounts)
    pictures = np.stack([render(p.scene, _REFERENCE_PX) for p in posts])  # (N, H, W, 3)
    facts = measure(pictures, [tuple((x.kind, x.box) for x in p.scene.products) for p in posts], [bool(p.scene.slogan) for p in posts])
    cases = [Case.of(brief_of(p, known[p.account].industry), f, known[p.account]) for p, f in zip(posts, facts, strict=True)]
    raw = {name: np.array([term(weights, c) for c in cases]) for name, term in _ALL.items()}
    return raw, np.array([p.account for p in posts])


def variance_within(values: np.ndarray, owner: np.ndarray) -> float:
    """Variance of (N,) values around the means of their accounts, unbiased."""
    _, index, counts = np.unique(owner, return_inverse=True, return_counts=True)
    rest = values - (np.bincount(index, values) / counts)[index]
    return float((rest**2).sum() / (len(values) - len(counts)))


def _scales(raw: dict[str, np.ndarray], owner: np.ndarray) -> dict[str, Scale]:
    """Gains by which each term has its share, and each part exactly its own."""
    scales: dict[str, Scale] = {}
    for terms, share in ((PICTURE_TERMS, SHARES["picture"]), (CONTEXT_TERMS, SHARES["context"])):
        gains = {name: np.sqrt(part / variance_within(raw[name], owner)) for name, (_, part) in terms.items()}
        together = np.sum([gain * raw[name] for name, gain in gains.items()], axis=0)
        factor = SPREAD * np.sqrt(share / variance_within(together, owner))
        scales |= {name: Scale(float(raw[name].mean()), float(gain * factor)) for name, gain in gains.items()}
    return scales


def draw_noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Heavy-tailed noise on log1p(likes), (count,): Student's t with 5 degrees of freedom, clipped at 5, then scaled to its share."""
    return np.clip(rng.standard_t(_DEGREES, count), -_CLIP, _CLIP) * _noise_scale()


@cache
def noise_quantiles(count: int = 2001) -> np.ndarray:
    """Midpoint quantiles of that noise, (count,): the mean of f over them is the expectation of f(noise)."""
    grid = (np.arange(count) + 0.5) / count
    return np.clip(stats.t.ppf(grid, _DEGREES), -_CLIP, _CLIP) * _noise_scale()


@cache
def _noise_scale() -> float:
    grid = (np.arange(20001) + 0.5) / 20001
    spread = np.clip(stats.t.ppf(grid, _DEGREES), -_CLIP, _CLIP).std()
    return float(SPREAD * np.sqrt(SHARES["noise"]) / spread)
