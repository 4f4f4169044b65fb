"""Background and body colors from pixels and boxes: simple statistics, ours, no learned parts.

The pattern is named only where the statistics are clear; a photograph's background mostly has none. Stripes and dots are
looked for at the period the renderer uses, a quarter of the side.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from boig.verbalizer.form import Box
from boig.verbalizer.palette import NAMES, PALETTE, rgb_to_lab

_MARGIN = 0.03  # of the side: boxes are widened by this before the rest is called background
_LEAST_LEFT = 0.05  # share of pixels; with less background left, the picture's border is taken
_SIDE = 96  # px: larger pictures are thinned out for the pattern statistics
_FLAT = 60.0  # summed RGB variance below which a background is plain
_FAINT = 12.0  # summed RGB variance below which no pattern can be told from noise
_EXPLAINED = 0.65  # share of the variance that columns (stripes) or rows (gradient) must explain
_DOTTED = 0.5  # dots: neither rows nor columns explain more
_REPEATS = 0.45  # correlation of stripes and dots with themselves, one period on
_LEAST_BODY = 0.02  # of the box: a body color covers at least this much more than it does outside
_VIVID = 50.0  # Lab chroma of a name that counts once; the weight grows with its square
_NEUTRAL_WEIGHT = 0.3  # weight of a name without chroma: ink and paper are neutral too, so body colors are preferred


@dataclass(frozen=True)
class Ground:
    """The background of a picture."""

    color: str
    """Palette name that covers most of it."""
    pattern: str
    """plain, gradient, stripes or dots; empty where it cannot be told."""


@cache
def _preference() -> np.ndarray:
    """(40,) weight of each name as a body color. Settings tried on 1,000 rendered pictures, plain and blurry: 94 % and 83 % right."""
    lab = rgb_to_lab(np.array(list(PALETTE.values())))
    return (np.hypot(lab[:, 1], lab[:, 2]) / _VIVID) ** 2 + _NEUTRAL_WEIGHT


def _cut(box: Box, height: int, width: int, margin: float = 0.0) -> tuple[slice, slice]:
    """Rows and columns of a box, widened by `margin` of the side; at least one pixel."""
    x0, y0 = max(0, round((box[0] - margin) * width)), max(0, round((box[1] - margin) * height))
    x1, y1 = min(width, round((box[2] + margin) * width)), min(height, round((box[3] + margin) * height))
    return slice(min(y0, height - 1), max(y1, y0 + 1)), slice(min(x0, width - 1), max(x1, x0 + 1))


def outside(height: int, width: int, boxes: list[Box]) -> np.ndarray:
    """Which pixels (H, W) belong to the background: those outside all boxes, or the border where hardly any are left."""
    mask = np.ones((height, width), bool)
    for box in boxes:
        mask[_cut(box, height, width, _MARGIN)] = False
    if np.count_nonzero(mask) / mask.size < _LEAST_LEFT:
        mask[:] = True
        edge = max(1, min(height, width) // 16)
        mask[edge:-edge, edge:-edge] = False
    return mask


def cover(names: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Share of each palette name in the background; (40,).

    Args:
        names: palette index of each pixel, (H, W).
        mask: which pixels are background, (H, W) bool, see `outside`.
    """
    return _shares(names[mask])


def background(picture: np.ndarray, covered: np.ndarray, mask: np.ndarray) -> Ground:
    """The background's color and pattern.

    Args:
        picture: uint8 (H, W, 3).
        covered: (40,), see `cover`.
        mask: which pixels are background, (H, W) bool, see `outside`.
    """
    step = max(1, min(mask.shape) // _SIDE)
    channels = np.ascontiguousarray(picture[::step, ::step].transpose(2, 0, 1), np.float32)  # whole rows: numpy is slow on triples
    return Ground(NAMES[int(covered.argmax())], _pattern(channels, mask[::step, ::step]))


def _pattern(picture: np.ndarray, mask: np.ndarray) -> str:
    """plain, gradient, stripes, dots or nothing; picture (3, H, W) float32, mask (H, W)."""
    count = np.count_nonzero(mask)
    if not count:
        return ""
    weight = mask.astype(np.float32)
    deviation = (picture - ((picture * weight).sum((1, 2)) / count)[:, None, None]) * weight
    power = (deviation**2).sum(0)  # (H, W)
    total = float(power.sum() / count)
    if total < _FAINT:
        return "plain"
    by_rows, by_columns = (_explained(deviation, weight, axis) / count / total for axis in (1, 0))
    if by_columns > _EXPLAINED and _repeats(deviation, power, weight, 1) > _REPEATS:
        return "stripes"
    if by_rows > _EXPLAINED:
        return "gradient"
    if max(by_rows, by_columns) < _DOTTED and min(_repeats(deviation, power, weight, axis) for axis in (1, 0)) > _REPEATS:
        return "dots"
    return "plain" if total < _FLAT else ""


def _explained(deviation: np.ndarray, weight: np.ndarray, axis: int) -> float:
    """Summed squares of the mean of each row (axis 1) or column (axis 0), once for each of its background's pixels."""
    sizes = weight.sum(axis)
    return float((deviation.sum(axis + 1) ** 2 / np.maximum(sizes, 1.0)).sum())


def _repeats(deviation: np.ndarray, power: np.ndarray, weight: np.ndarray, axis: int) -> float:
    """Correlation of the background with itself a quarter of the side further along `axis`.

    Args:
        deviation: (3, H, W) from the mean color; 0 outside the background, as is `power`.
        power: (H, W) its square, summed over the channels.
        weight: (H, W), 1 where there is background.
        axis: of H and W.
    """
    if axis == 0:
        deviation, power, weight = deviation.swapaxes(1, 2), power.T, weight.T
    last = weight.shape[1] - weight.shape[1] // 4
    first = weight.shape[1] - last
    both = float((power[:, :last] * weight[:, first:]).sum() + (power[:, first:] * weight[:, :last]).sum()) / 2
    return float((deviation[..., :last] * deviation[..., first:]).sum()) / both if both > 0 else 0.0


def body_color(names: np.ndarray, box: Box, covered: np.ndarray, mask: np.ndarray) -> str:
    """The palette name that sets a box off from the background; empty where none does.

    Names count by how much more of the box than of the background they cover, times how colorful they are: outlines,
    labels and shadows are mostly neutral.

    Args:
        names: palette index of each pixel, (H, W).
        box: (x0, y0, x1, y1) in 0–1.
        covered: (40,), see `cover`.
        mask: which pixels are background, (H, W) bool.
    """
    rows, columns = _cut(box, *names.shape)
    inside = _shares(names[rows, columns].ravel())
    beside = names[rows][mask[rows]]  # a gradient differs from row to row, so the same rows count too
    around = np.maximum(covered, _shares(beside) if len(beside) else 0.0)
    score = np.where(inside - around > _LEAST_BODY, (inside - around) * _preference(), 0.0)
    return NAMES[int(score.argmax())] if score.max() > 0 else ""


def _shares(names: np.ndarray) -> np.ndarray:
    """Share of each palette name among (n,) indices; (40,)."""
    return np.bincount(names, minlength=len(NAMES)) / max(len(names), 1)
