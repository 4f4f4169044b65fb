"""What the law expects of a post: the truth that no model is shown. For `simulate` and `evaluate` alone."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from boig.brief import Brief
from boig.simulator.effects import CONTEXT_TERMS, PICTURE_TERMS
from boig.simulator.facts import PictureFacts, measure
from boig.simulator.law import Law, noise_quantiles
from boig.simulator.render import Box

REFERENCE_PX = 64
"""Side at which the law and its reference classifier look at pictures."""


class Seen(Protocol):
    """What a classifier sees in one picture."""

    @property
    def products(self) -> tuple[tuple[str, Box, float], ...]:
        """(kind, box in 0–1, confidence) each."""

    @property
    def has_text(self) -> bool:
        """Whether there is a line of text."""


class Classifier(Protocol):
    """What is asked of `boig.simulator.reference.Reference`."""

    def facts(self, pictures: np.ndarray) -> Sequence[Seen]:
        """What is in each of the pictures, uint8 (N, 64, 64, 3)."""


def parts(law: Law, briefs: list[Brief], facts: list[PictureFacts]) -> dict[str, np.ndarray]:
    """`course`, `context` and `picture` of log1p(likes), each (N,) float64; their sum is the expectation of log1p(likes).

    Raises:
        ValueError: lengths differ, or an account is not of this law.
    """
    if len(briefs) != len(facts):
        raise ValueError(f"{len(briefs)} briefs, {len(facts)} pictures; give one picture per brief")
    terms = [law.terms(law.case(b, f)) for b, f in zip(briefs, facts, strict=True)]
    return {
        "course": np.array([law.courses[b.account].at(b.created_at) for b in briefs], dtype=np.float64),
        "context": np.array([sum(t[name] for name in CONTEXT_TERMS) for t in terms], dtype=np.float64),
        "picture": np.array([sum(t[name] for name in PICTURE_TERMS) for t in terms], dtype=np.float64),
    }


def expected_log_likes(law: Law, briefs: list[Brief], facts: list[PictureFacts]) -> np.ndarray:
    """Expectation of log1p(likes), (N,); expm1 of it is the median of likes, since the noise is symmetric."""
    p = parts(law, briefs, facts)
    return p["course"] + p["context"] + p["picture"]


def mean_likes(log_likes: np.ndarray) -> np.ndarray:
    """Expectation of likes over the noise, from the expectation of log1p(likes); same shape, never negative."""
    return np.maximum(np.exp(log_likes) * np.exp(noise_quantiles()).mean() - 1.0, 0.0)


def median_likes(log_likes: np.ndarray) -> np.ndarray:
    """Median of likes over the noise, from the expectation of log1p(likes); same shape, never negative."""
    return np.maximum(np.expm1(log_likes), 0.0)


def picture_facts(pictures: np.ndarray, reference: Classifier) -> list[PictureFacts]:
    """Facts of any pictures, uint8 (N, H, W, 3): products and text from the reference classifier, the rest from pixels."""
    small = pictures
    if pictures.shape[1:3] != (REFERENCE_PX, REFERENCE_PX):
        small = np.stack([np.asarray(Image.fromarray(p).resize((REFERENCE_PX, REFERENCE_PX), Image.Resampling.BOX)) for p in pictures])
    found = reference.facts(small)
    return measure(small, [tuple((kind, box) for kind, box, _ in f.products) for f in found], [f.has_text for f in found])


def expected_likes(law: Law, briefs: list[Brief], pictures: np.ndarray, reference: Classifier) -> np.ndarray:
    """Expected likes, (N,) float64, of each brief posted with its picture, uint8 (N, H, W, 3)."""
    return mean_likes(expected_log_likes(law, briefs, picture_facts(pictures, reference)))
