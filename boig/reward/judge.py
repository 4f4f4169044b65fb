"""The judge: a second opinion on a picture in its brief, from pixels, of another architecture and trained on other posts.

A small convolutional network looks at the pixels in two ways: a learned color histogram (1 × 1 convolutions, averaged over the
picture) and shapes (strided 3 × 3 convolutions on a grid). Beside the KPI it learns to tell the caption's words from the pixels;
how well the two agree is one of its features, so that it notices a picture of something else. Nothing is verbalized here: no
detector, no palette, no language model; an error of the reward's eyes is not the judge's.

Legend: N posts, S side in px, C context features, W caption words, M members.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from boig.brief import Brief
from boig.reward.features import ContextSpace

_HISTOGRAM = 24
_FILE, _WEIGHTS = "judge.json", "judge.safetensors"
_BATCH = 64


@dataclass(frozen=True)
class JudgeShape:
    """Sizes of a judge."""

    side: int
    channels: int
    context: int
    """C."""
    words: int
    """W, the last columns of the context."""
    dropout: float


class JudgeNet(nn.Module):
    """One member: pictures and contexts → (expected KPI in standard deviations, logits of the caption's words)."""

    def __init__(self, shape: JudgeShape):
        super().__init__()
        c, self._words = shape.channels, shape.words
        self.colors = nn.Sequential(
            nn.Conv2d(3, 32, 1), nn.GELU(), nn.Conv2d(32, _HISTOGRAM, 1), nn.Softmax(dim=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.shapes = nn.Sequential(
            nn.Conv2d(3, c, 3, stride=2, padding=1), nn.BatchNorm2d(c), nn.GELU(),
            nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), nn.BatchNorm2d(2 * c), nn.GELU(),
            nn.Conv2d(2 * c, 3 * c, 3, stride=2, padding=1), nn.BatchNorm2d(3 * c), nn.GELU(),
        )  # fmt: skip
        seen = 6 * c
        self.tell_words = nn.Linear(seen, shape.words)
        picture = _HISTOGRAM + seen + 7
        self.hidden = nn.Linear(picture + shape.context, 48)
        self.picture_factor, self.context_factor = nn.Linear(picture, 16), nn.Linear(shape.context, 16)
        self.out = nn.Linear(48 + 16, 1)
        self.linear = nn.Linear(picture + shape.context, 1)
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, pixels: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """pixels (N, 3, S, S) in −1–1, context (N, C) → (N,), (N, W)."""
        grid = self.shapes(pixels)  # (N, 3 c, S/8, S/8)
        seen = torch.cat([grid.mean((2, 3)), grid.amax((2, 3))], dim=1)
        words = self.tell_words(self.drop(seen))
        said = context[:, context.shape[1] - self._words :]
        agreement = (said * nn.functional.logsigmoid(words.detach())).sum(1, keepdim=True) / said.sum(1, keepdim=True).clamp(min=1)
        light = torch.cat([pixels.mean((2, 3)), pixels.std((2, 3))], dim=1)
        picture = self.drop(torch.cat([self.colors(pixels) * _HISTOGRAM**0.5, seen, light, agreement], dim=1))
        context = self.drop(context)
        both = torch.cat([picture, context], dim=1)
        factors = self.picture_factor(picture) * self.context_factor(context)
        deep = torch.cat([nn.functional.gelu(self.hidden(both)), factors], dim=1)
        return (self.out(self.drop(deep)) + self.linear(both))[:, 0], words


def pixels(pictures: np.ndarray, side: int) -> torch.Tensor:
    """uint8 (N, H, W, 3) → float32 (N, 3, S, S) in −1–1, reduced by area.

    Raises:
        ValueError: another dtype or shape.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise ValueError(f"pictures must be uint8 (N, H, W, 3), got {pictures.dtype} {pictures.shape}; decode to RGB first")
    raw = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return raw if raw.shape[-2:] == (side, side) else nn.functional.adaptive_avg_pool2d(raw, side)


class Judge:
    """An ensemble of `JudgeNet`."""

    def __init__(self, nets: Sequence[JudgeNet], shape: JudgeShape, space: ContextSpace, center: float, scale: float):
        self.nets, self.shape, self.space, self.center, self.scale = [n.eval() for n in nets], shape, space, center, scale

    @torch.no_grad()
    def score(self, briefs: Sequence[Brief], pictures: np.ndarray) -> np.ndarray:
        """Expected KPI of each picture in its brief, (N,) float64, about 0–100. An unknown account is an average one of its industry.

        Args:
            briefs: N briefs.
            pictures: uint8 (N, H, W, 3), RGB, of any size.

        Raises:
            ValueError: not as many pictures as briefs, or not uint8 (N, H, W, 3).
        """
        if len(briefs) != len(pictures):
            raise ValueError(f"{len(briefs)} briefs for {len(pictures)} pictures; give one of each")
        out = np.zeros(len(briefs))
        for start in range(0, len(briefs), _BATCH):
            rows = slice(start, start + _BATCH)
            seen, context = pixels(pictures[rows], self.shape.side), torch.from_numpy(self.space.encode(briefs[rows]))
            out[rows] = torch.stack([net(seen, context)[0] for net in self.nets]).mean(0).double().numpy()
        return self.center + self.scale * out

    def save(self, folder: Path) -> None:
        """Write weights and vocabularies."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {f"{i}.{k}": v.contiguous() for i, net in enumerate(self.nets) for k, v in net.state_dict().items()}
        save_file(weights, str(folder / _WEIGHTS))
        content = {
            "members": len(self.nets),
            "shape": asdict(self.shape),
            "space": asdict(self.space),
            "center": self.center,
            "scale": self.scale,
        }
        (folder / _FILE).write_text(json.dumps(content) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Judge":
        """Read a judge that the train_reward stage has written (`models/judge`).

        Raises:
            FileNotFoundError: no judge there.
        """
        folder = Path(path)
        if not (folder / _FILE).is_file():
            raise FileNotFoundError(f"no judge in {folder}; run the train_reward stage (`dvc repro train_reward`)")
        raw, weights = json.loads((folder / _FILE).read_text()), load_file(str(folder / _WEIGHTS))
        shape, space = JudgeShape(**raw["shape"]), ContextSpace(**{k: tuple(v) for k, v in raw["space"].items()})
        nets = [JudgeNet(shape) for _ in range(raw["members"])]
        for i, net in enumerate(nets):
            net.load_state_dict({k.removeprefix(f"{i}."): v for k, v in weights.items() if k.startswith(f"{i}.")})
        return cls(nets, shape, space, raw["center"], raw["scale"])
