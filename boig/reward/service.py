"""The scoring service: briefs and pictures in, scores out. A plain callable; `flows.on_ray.ActorPool` makes a pool
of it, by `Service.load`.

Work is done once per content: a picture's text is kept by the hash of its pixels, a score by the hash of its prompt (brief and
text, see `boig.reward.scorer`), and what the prompts of a brief share is computed once per call (see `boig.reward.continuing`).
A score is the same in any batch and order. Nothing fails in silence: a picture without a usable text raises, and so does a
score that is not finite; the one fallback is that of `boig.reward.scorer` for unknown accounts and industries.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from boig.brief import Brief
from boig.reward.scorer import Reward, Scores
from boig.verbalizer.form import Verbalization
from boig.verbalizer.palette import check_pictures
from boig.verbalizer.verbalizer import Settings, Verbalizer, build

_KEPT = 20_000  # texts of about 3 KB


class Service:
    """A verbalizer and a reward behind one door."""

    def __init__(self, verbalizer: Verbalizer, reward: Reward):
        """Put the pieces together; `load` does so from files."""
        self.reward, self._verbalizer = reward, verbalizer
        self._texts: OrderedDict[bytes, Verbalization] = OrderedDict()

    @classmethod
    def load(cls, verbalizer: Settings, reward: str | Path, weights: Mapping[str, float] | None = None, device: str = "cpu") -> "Service":
        """Load the models.

        Args:
            verbalizer: settings of the verbalizer.
            reward, weights, device: see `Reward.load`.

        Raises:
            FileNotFoundError: one of the models is missing.
            ValueError: a weight of an unknown part, or a setting does not fit its kind.
        """
        return cls(build(verbalizer, device), Reward.load(reward, weights, device))

    @property
    def labels(self) -> tuple[str, ...]:
        """What the detector can name."""
        return self._verbalizer.detector.labels

    def __call__(self, briefs: Sequence[Brief], pictures: np.ndarray) -> Scores:
        """Score N pictures, each in its brief.

        Args:
            briefs: N briefs; pictures of one brief are cheapest together.
            pictures: uint8 (N, H, W, 3) sRGB.

        Raises:
            ValueError: the numbers differ, pictures of another dtype or shape, a picture for which the captioner has no usable
                sentence, a prompt longer than the language model reads, or a score that is not finite.
        """
        if len(briefs) != len(check_pictures(pictures)):
            raise ValueError(f"{len(briefs)} briefs for {len(pictures)} pictures; give one brief per picture")
        return self.reward.score(briefs, self.verbalize(pictures))

    def verbalize(self, pictures: np.ndarray) -> list[Verbalization]:
        """The texts of N pictures; see `Verbalizer.verbalize`."""
        shape = str(check_pictures(pictures).shape[1:]).encode()
        keys = [hashlib.sha256(shape + np.ascontiguousarray(p).tobytes()).digest() for p in pictures]
        fresh = list({key: i for i, key in enumerate(keys) if key not in self._texts}.values())
        if fresh:
            found = self._verbalizer.verbalize(pictures[fresh])
            self._texts.update(zip((keys[i] for i in fresh), found, strict=True))
        texts = [self._texts[key] for key in keys]
        while len(self._texts) > _KEPT:
            self._texts.popitem(last=False)
        return texts
