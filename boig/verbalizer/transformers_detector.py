"""Any object-detection or zero-shot object-detection model of transformers behind the `Detector` interface."""

import re

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModelForObjectDetection, AutoModelForZeroShotObjectDetection, AutoProcessor

from boig.verbalizer.detector import suppress
from boig.verbalizer.form import ObjectBox
from boig.verbalizer.palette import check_pictures
from boig.verbalizer.pretrained import Pretrained, load

_MAX_IOU = 0.6  # DETR-like models suppress by themselves; this catches two labels on one thing
_BATCH = 16
_WORDS = re.compile(r"[a-z0-9]+")
_NO_LABEL = "N/A"  # gaps in COCO's numbering, as DETR names them


class TransformersDetector:
    """A model with its own labels: DETR, RT-DETR, YOLOS, Conditional DETR, …"""

    def __init__(self, backend: Pretrained, threshold: float) -> None:
        """threshold: least confidence, 0–1."""
        self.backend, self.model_id, self.threshold = backend, backend.model_id, threshold
        self.names: dict[int, str] = dict(backend.net.config.id2label)
        self.labels = tuple(name for _, name in sorted(self.names.items()) if name != _NO_LABEL)

    @classmethod
    def load(cls, model: str, revision: str, threshold: float, device: str = "cpu") -> "TransformersDetector":
        """Raises: FileNotFoundError, ValueError: see `pretrained.load`."""
        return cls(load(AutoModelForObjectDetection, AutoImageProcessor, model, revision, device), threshold)

    @torch.inference_mode()
    def detect(self, pictures: np.ndarray) -> list[tuple[ObjectBox, ...]]:
        """See `Detector`."""
        processor = self.backend.processor
        found: list[tuple[ObjectBox, ...]] = []
        for start in range(0, len(check_pictures(pictures)), _BATCH):
            batch = pictures[start : start + _BATCH]
            inputs = processor(images=list(batch), return_tensors="pt").to(self.backend.device, self.backend.dtype)
            sizes = [batch.shape[1:3]] * len(batch)
            answers = processor.post_process_object_detection(self.backend.net(**inputs), threshold=self.threshold, target_sizes=sizes)
            for answer in answers:
                names = [self.names[int(label)] for label in answer["labels"]]
                found.append(_objects(names, answer["boxes"], answer["scores"], batch.shape[1:3]))
        return found


class ZeroShotDetector:
    """A model that is asked for labels: OWLv2, Grounding DINO, …"""

    def __init__(self, backend: Pretrained, threshold: float, labels: tuple[str, ...]) -> None:
        """Raises: ValueError: no labels."""
        if not labels:
            raise ValueError("a zero_shot detector needs labels to look for; name them in verbalize.detector.labels")
        self.backend, self.model_id, self.threshold, self.labels = backend, backend.model_id, threshold, labels

    @classmethod
    def load(cls, model: str, revision: str, threshold: float, labels: tuple[str, ...], device: str = "cpu") -> "ZeroShotDetector":
        """Raises: FileNotFoundError, ValueError: see `pretrained.load`; ValueError: no labels."""
        return cls(load(AutoModelForZeroShotObjectDetection, AutoProcessor, model, revision, device), threshold, labels)

    @torch.inference_mode()
    def detect(self, pictures: np.ndarray) -> list[tuple[ObjectBox, ...]]:
        """See `Detector`."""
        processor = self.backend.processor
        found: list[tuple[ObjectBox, ...]] = []
        for start in range(0, len(check_pictures(pictures)), _BATCH):
            batch = pictures[start : start + _BATCH]
            asked = [list(self.labels)] * len(batch)
            inputs = processor(text=asked, images=list(batch), return_tensors="pt", padding=True).to(
                self.backend.device, self.backend.dtype
            )
            answers = processor.post_process_grounded_object_detection(
                self.backend.net(**inputs), threshold=self.threshold, target_sizes=[batch.shape[1:3]] * len(batch), text_labels=asked
            )
            for answer in answers:
                names = [asked_label(phrase, self.labels) for phrase in answer["text_labels"]]
                found.append(_objects(names, answer["boxes"], answer["scores"], batch.shape[1:3]))
        return found


def asked_label(phrase: str, labels: tuple[str, ...]) -> str:
    """The label that a model's phrase means; empty where it means none.

    OWLv2 gives the label itself, Grounding DINO whatever part of its prompt it matched ("coffee", "cup. [SEP]").
    """
    said = set(_WORDS.findall(phrase.lower()))
    asked = [set(_WORDS.findall(label.lower())) for label in labels]
    best = max(range(len(labels)), key=lambda i: (len(said & asked[i]) / max(len(asked[i]), 1), len(said & asked[i]), -i))
    return labels[best] if said & asked[best] else ""


def _objects(names: list[str], boxes: torch.Tensor, scores: torch.Tensor, size: tuple[int, ...]) -> tuple[ObjectBox, ...]:
    """Objects from boxes in pixels (n, 4); those without a name, and boxes outside the picture, are dropped."""
    height, width = size
    scale = np.array([width, height, width, height], np.float64)
    shares = np.clip(boxes.float().cpu().numpy().astype(np.float64).reshape(-1, 4) / scale, 0.0, 1.0)
    objects = [
        ObjectBox(name, tuple(box), float(score))
        for name, box, score in zip(names, shares.tolist(), scores.float().cpu().tolist(), strict=True)
        if name not in ("", _NO_LABEL) and box[2] > box[0] and box[3] > box[1]
    ]
    return suppress(objects, _MAX_IOU)
