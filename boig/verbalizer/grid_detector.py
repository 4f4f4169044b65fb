"""The default detector: a small convolutional network that answers on an 8×8 grid.

Each cell says which label has its center there and how far the four sides of its box are (as FCOS and CenterNet do).
The architecture is ours; it is as small as the embedded default needs. The same network with more channels and two
heads over the whole picture is the simulator's reference classifier.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from boig.verbalizer.detector import suppress
from boig.verbalizer.form import ObjectBox
from boig.verbalizer.palette import check_pictures

GRID = 8  # cells a side
SIDE = 64  # px a side of what the network sees
_MAX_IOU = 0.4  # two boxes that overlap more are one object; scenes keep products apart, so ours is loose


@dataclass(frozen=True)
class GridConfig:
    """Shape of a grid network."""

    labels: tuple[str, ...]
    """Classes of the grid head."""
    width: int
    """Channels after the first convolution; the trunk ends with four times as many."""
    blocks: int
    """Residual blocks at 8×8."""
    families: tuple[str, ...] = ()
    """Background color families; empty for a network without the two picture heads."""


@dataclass(frozen=True)
class GridOutput:
    """What the network says of B pictures."""

    classes: Tensor
    """(B, labels, 8, 8) logits: an object of that label has its center in the cell."""
    sides: Tensor
    """(B, 4, 8, 8) distances from the cell's center to left, top, right, bottom, in cells, ≥ 0."""
    families: Tensor | None
    """(B, families) logits; None without picture heads."""
    text: Tensor | None
    """(B,) logit that the picture carries a line of text; None without picture heads."""
    features: Tensor | None
    """(B, 10 · width) pooled maps that the picture heads read; None without picture heads."""
    pooled: Tensor | None = None
    """(B, 10 × width) what the picture heads see: means and maxima of the trunk; None without picture heads."""


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    """x + conv(conv(x)), same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class GridNet(nn.Module):
    """Pictures to grid answers, and to picture answers where the configuration asks for them."""

    def __init__(self, config: GridConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.early = nn.Sequential(_conv(3, w, 2), _conv(w, 2 * w, 2), _conv(2 * w, 2 * w))
        self.late = nn.Sequential(_conv(2 * w, 4 * w, 2), *(_Residual(4 * w) for _ in range(config.blocks)))
        self.head = nn.Conv2d(4 * w, len(config.labels) + 4, 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias[: len(config.labels)], -4.0)  # objects are rare among the cells
        self.whole = (
            nn.Sequential(nn.Linear(10 * w, 4 * w), nn.ReLU(), nn.Linear(4 * w, len(config.families) + 1)) if config.families else None
        )

    def forward(self, pictures: Tensor) -> GridOutput:
        """(B, 3, 64, 64) floats in 0–255 → answers."""
        early = self.early((pictures - 127.5) / 64.0)  # (B, 2w, 16, 16)
        late = self.late(early)  # (B, 4w, 8, 8)
        cells = self.head(late)  # (B, labels + 4, 8, 8)
        count = len(self.config.labels)
        families = text = pooled = None
        if self.whole is not None:
            pooled = torch.cat([early.mean((2, 3)), late.mean((2, 3)), late.amax((2, 3))], 1)  # (B, 10w)
            answer = self.whole(pooled)
            families, text = answer[:, :-1], answer[:, -1]
        return GridOutput(cells[:, :count], functional.softplus(cells[:, count:]), families, text, pooled)


def save(net: GridNet, folder: Path) -> Path:
    """Write config.json and model.safetensors; equal weights give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(asdict(net.config), indent=2) + "\n")
    save_file({k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    return folder


def load(folder: Path, device: str = "cpu") -> tuple[GridNet, str]:
    """The network in evaluation mode with its batch norms folded in, and its model id `<folder name>@<sha256 of the weights>`.

    Raises:
        FileNotFoundError: config.json or model.safetensors is missing.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; name a detector's folder, or run `make base` to train the shipped ones")
    raw = json.loads((folder / "config.json").read_text())
    net = GridNet(GridConfig(tuple(raw["labels"]), raw["width"], raw["blocks"], tuple(raw["families"])))
    weights = (folder / "model.safetensors").read_bytes()
    net.load_state_dict(load_file(folder / "model.safetensors"))
    _fold(net.eval().requires_grad_(False))
    net = net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return net, f"{folder.name}@{hashlib.sha256(weights).hexdigest()[:12]}"


def _fold(module: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, in place."""
    for child in module.modules():
        if isinstance(child, nn.Sequential) and len(child) > 1 and isinstance(child[0], nn.Conv2d) and isinstance(child[1], nn.BatchNorm2d):
            child[0], child[1] = fuse_conv_bn_eval(child[0], child[1]), nn.Identity()


def to_input(pictures: np.ndarray, device: str = "cpu") -> Tensor:
    """uint8 (B, H, W, 3) → (max(B, 2), 3, 64, 64) floats in 0–255; other sizes are resized with anti-aliasing."""
    batch = torch.tensor(check_pictures(pictures), device=device).permute(0, 3, 1, 2).float()
    if batch.shape[2:] != (SIDE, SIDE):
        batch = functional.interpolate(batch, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    if len(batch) == 1:
        batch = batch.expand(2, -1, -1, -1)  # oneDNN rounds a batch of one differently: a picture's boxes must not depend on that
    return batch.contiguous(memory_format=torch.channels_last)


def decode(classes: np.ndarray, sides: np.ndarray, labels: tuple[str, ...], threshold: float) -> list[tuple[ObjectBox, ...]]:
    """Boxes of each picture.

    Args:
        classes: (B, labels, 8, 8) logits.
        sides: (B, 4, 8, 8) distances in cells.
        labels: names of the classes.
        threshold: least confidence, 0–1.
    """
    found: list[list[ObjectBox]] = [[] for _ in range(len(classes))]
    best = classes.argmax(1)  # (B, 8, 8)
    scores = 1.0 / (1.0 + np.exp(-classes.max(1).astype(np.float64)))  # (B, 8, 8)
    picture, row, column = np.nonzero(scores >= threshold)
    left, top, right, bottom = sides[picture, :, row, column].astype(np.float64).T
    boxes = np.clip(np.stack([column + 0.5 - left, row + 0.5 - top, column + 0.5 + right, row + 0.5 + bottom], 1) / GRID, 0.0, 1.0)
    for b, y, x, box in zip(picture.tolist(), row.tolist(), column.tolist(), boxes.tolist(), strict=True):
        found[b].append(ObjectBox(labels[best[b, y, x]], tuple(box), float(scores[b, y, x])))
    return [suppress(objects, _MAX_IOU) for objects in found]


class GridDetector:
    """A trained grid network behind the `Detector` interface."""

    def __init__(self, net: GridNet, model_id: str, threshold: float, batch_size: int = 256, device: str = "cpu") -> None:
        self.net, self.model_id, self.threshold, self.batch_size, self.device = net, model_id, threshold, batch_size, device
        self.labels = net.config.labels

    @classmethod
    def load(cls, folder: Path, threshold: float, batch_size: int = 256, device: str = "cpu") -> "GridDetector":
        """Raises: FileNotFoundError: the folder holds no detector."""
        return cls(*load(folder, device), threshold, batch_size, device)

    @torch.inference_mode()
    def detect(self, pictures: np.ndarray) -> list[tuple[ObjectBox, ...]]:
        """See `Detector`; pictures of any size."""
        check_pictures(pictures)
        found: list[tuple[ObjectBox, ...]] = []
        for start in range(0, len(pictures), self.batch_size):  # only the last batch can be a single picture
            out = self.net(to_input(pictures[start : start + self.batch_size], self.device))
            found += decode(out.classes.cpu().numpy(), out.sides.cpu().numpy(), self.labels, self.threshold)
        return found[: len(pictures)]
