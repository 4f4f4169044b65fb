"""Feature spaces in which sets of pictures are compared: whatever sees, behind one method.

No Inception or CLIP weights ship with the project, so the default is the penultimate layer of the simulator's reference
classifier on rendered pictures, and of an ImageNet MobileNetV2 on real ones; `clip` takes any CLIP-like model by hub id.
Distances in one space say nothing about those in another.
"""

from pathlib import Path
from typing import Protocol

import numpy as np

from boig.evaluation.clip import Clip
from boig.evaluation.settings import FeatureBackend
from boig.simulator.reference import Reference
from boig.verbalizer.activation_detector import ActivationDetector


class Features(Protocol):
    """Sees pictures as vectors."""

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) → (N, D) floats; row i depends on picture i alone."""
        ...


def build(settings: FeatureBackend, *, device: str = "cpu") -> Features:
    """The feature space that the parameters name.

    Raises:
        FileNotFoundError: its weights are not there.
    """
    if settings.kind == "reference":
        return Reference.load(Path(settings.model), device)
    if settings.kind == "imagenet":
        return ActivationDetector.load(None, 1.0, device)
    return Clip(settings.model, settings.revision or None, device=device)


def note(settings: FeatureBackend) -> str:
    """What the features are, for the report."""
    named = {
        "reference": "penultimate features of the simulator's reference classifier",
        "imagenet": "penultimate features of MobileNetV2 (ImageNet)",
        "clip": f"image embeddings of {settings.model}",
    }
    return named[settings.kind]
