"""The simulator's reference classifier: what a picture shows, judged by a network that nothing else in the pipeline uses.

It gives the true law its inputs for pictures that were generated rather than drawn, and says whether a generated picture shows what
its prompt asked for. Weights: base/reference, trained on rendered pictures by base/recipes/detector.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from boig.verbalizer.form import Box
from boig.verbalizer.grid_detector import GridDetector, GridOutput, decode, to_input
from boig.verbalizer.palette import check_pictures

FOLDER = Path("base/reference")
THRESHOLD = 0.5  # least confidence of a product
_TEXT = "text"


@dataclass(frozen=True)
class SceneFacts:
    """What one picture shows."""

    products: tuple[tuple[str, Box, float], ...]
    """(kind, box in 0–1, confidence 0–1), most confident first."""
    has_text: bool
    background_family: str
    """One of the values of `catalog.FAMILY`."""


class Reference:
    """A trained reference classifier."""

    def __init__(self, detector: GridDetector) -> None:
        """Raises: ValueError: the network has no picture heads."""
        if not detector.net.config.families:
            raise ValueError(f"{detector.model_id} has no background head; train one with `python -m base.recipes.detector reference`")
        self.detector, self.model_id, self.families = detector, detector.model_id, detector.net.config.families

    @classmethod
    def load(cls, path: Path = FOLDER, device: str = "cpu", batch_size: int = 256) -> "Reference":
        """Raises: FileNotFoundError: no weights in that folder; ValueError: weights of another kind of network."""
        return cls(GridDetector.load(path, THRESHOLD, batch_size, device))

    def facts(self, pictures: np.ndarray) -> list[SceneFacts]:
        """Facts of each picture of a uint8 (N, H, W, 3) batch; a picture's facts depend on nothing else in the batch."""
        result = []
        for out in self._outputs(pictures):
            assert out.families is not None
            assert out.text is not None
            found = decode(out.classes.cpu().numpy(), out.sides.cpu().numpy(), self.detector.labels, self.detector.threshold)
            for objects, family, text in zip(found, out.families.argmax(1).tolist(), (out.text > 0).tolist(), strict=True):
                products = tuple((o.label, o.box, o.score) for o in objects if o.label != _TEXT)
                result.append(SceneFacts(products, bool(text), self.families[family]))
        return result[: len(pictures)]

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """What the picture heads read, for distances between sets of pictures: uint8 (N, H, W, 3) → (N, D) float32."""
        rows = [out.features.cpu().numpy() for out in self._outputs(pictures) if out.features is not None]
        return np.concatenate(rows)[: len(pictures)] if rows else np.zeros((0, 10 * self.detector.net.config.width), np.float32)

    def _outputs(self, pictures: np.ndarray) -> Iterator[GridOutput]:
        """Answers batch by batch; a single last picture comes twice, see `to_input`."""
        check_pictures(pictures)
        size, device = self.detector.batch_size, self.detector.device
        for start in range(0, len(pictures), size):
            with torch.inference_mode():
                yield self.detector.net(to_input(pictures[start : start + size], device))
