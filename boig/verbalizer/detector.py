"""What finds objects in pictures: the interface that every detector keeps, and how found boxes are cleaned."""

from typing import Protocol

import numpy as np

from boig.verbalizer.form import Box, ObjectBox


class Detector(Protocol):
    """Finds labeled boxes. Equal pictures give equal boxes, whatever else is in the batch."""

    labels: tuple[str, ...]
    """Every label that may be found; empty where the vocabulary is open."""
    model_id: str
    """Name and revision, or SHA-256 of the weights: part of a verbalization's version."""

    def detect(self, pictures: np.ndarray) -> list[tuple[ObjectBox, ...]]:
        """Objects of each picture of a uint8 (B, H, W, 3) batch, most confident first."""
        ...


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0–1; 0 where both are empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def suppress(objects: list[ObjectBox], max_iou: float) -> tuple[ObjectBox, ...]:
    """The objects, most confident first, without those that overlap a more confident one by more than `max_iou`."""
    kept: list[ObjectBox] = []
    for candidate in sorted(objects, key=lambda o: (-o.score, o.label, o.box)):
        if all(iou(candidate.box, other.box) <= max_iou for other in kept):
            kept.append(candidate)
    return tuple(kept)
