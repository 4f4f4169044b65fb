"""The 40 color names, their Lab centroids, and the share of a picture that each name covers.

The vocabulary is the one of the authors' ad data (paper.md §3); the RGB values are not published there, so the
centroids below are ours. A pixel takes the name of the nearest centroid in CIE Lab (D65, Euclidean distance, CIE76).
The nearest-centroid search runs once, into a table over 5 bits a channel; a picture is then one table look-up.
"""

from functools import cache

import numpy as np

PALETTE: dict[str, tuple[int, int, int]] = {
    "Beige": (222, 203, 168), "Black": (15, 15, 16), "Blue": (36, 92, 200), "Bright_Green": (62, 220, 60),
    "Brown": (122, 76, 42), "Cream": (250, 238, 205), "Cyan": (62, 210, 232), "Dark_Blue": (16, 30, 92),
    "Dark_Brown": (66, 41, 26), "Dark_Gray": (76, 76, 79), "Dark_Green": (16, 76, 42), "Dark_Pink": (214, 62, 130),
    "Dark_Red": (136, 16, 26), "Emerald": (22, 160, 112), "Gold": (214, 178, 62), "Gray": (131, 131, 133),
    "Green": (50, 146, 58), "Khaki": (172, 162, 112), "Lavender": (206, 192, 236), "Light_Blue": (150, 200, 240),
    "Light_Green": (166, 226, 150), "Lilac": (190, 150, 212), "Magenta": (216, 36, 200), "Maroon": (94, 16, 42),
    "Mud_Green": (90, 96, 52), "Mustard": (202, 146, 18), "Off_White": (242, 241, 234), "Olive": (122, 126, 36),
    "Orange": (245, 130, 32), "Pink": (250, 166, 190), "Plum": (116, 46, 106), "Purple": (106, 40, 160),
    "Red": (214, 32, 36), "Royal_Blue": (52, 62, 226), "Silver": (192, 193, 196), "Tan": (202, 162, 118),
    "Turquoise": (52, 190, 180), "Violet": (140, 72, 222), "White": (255, 255, 255), "Yellow": (250, 226, 52),
}  # fmt: skip
NAMES: tuple[str, ...] = tuple(PALETTE)
TONES: tuple[str, ...] = ("warm", "neutral", "cool")
_NEUTRAL_CHROMA = 12.0  # Lab chroma below which a pixel has no temperature; ours, the source names only the three bins


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab (D65) of sRGB values in 0–255; any shape ending in 3, float64."""
    unit = np.asarray(rgb, dtype=np.float64) / 255.0
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


@cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """(names, names × 3 + tones): uint8 tables of 32,768 entries, indexed by the top five bits of R, G and B."""
    level = np.arange(32) * 8 + 4
    cells = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = rgb_to_lab(cells)  # (32768, 3)
    centroids = rgb_to_lab(np.array(list(PALETTE.values())))  # (40, 3)
    nearest = ((lab[:, None, :] - centroids[None]) ** 2).sum(-1).argmin(1)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1])) % 360
    warm = (hue < 110) | (hue >= 325)  # reds, oranges, yellows, pinks; the rest is greens to violets
    tone = np.where(chroma < _NEUTRAL_CHROMA, 1, np.where(warm, 0, 2))
    return nearest.astype(np.uint8), (nearest * 3 + tone).astype(np.uint8)


def _cells(pictures: np.ndarray) -> np.ndarray:
    """Table index of each pixel of uint8 (..., 3); uint16, which keeps the memory traffic low."""
    cells = (pictures[..., 0] >> 3).astype(np.uint16)
    for channel in (1, 2):
        cells <<= 5
        cells |= pictures[..., channel] >> 3
    return cells


def check_pictures(pictures: np.ndarray) -> np.ndarray:
    """The batch itself.

    Raises:
        ValueError: not uint8 (B, H, W, 3).
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise ValueError(f"pictures must be uint8 (B, H, W, 3), got {pictures.dtype} {pictures.shape}; decode to RGB first")
    return pictures


def name_indices(pictures: np.ndarray) -> np.ndarray:
    """Index into `NAMES` of each pixel of uint8 (B, H, W, 3) pictures; uint8 (B, H, W)."""
    return _tables()[0].take(_cells(check_pictures(pictures)))


def shares(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of the 40 names and of the three tones in each picture.

    Args:
        pictures: uint8, (B, H, W, 3), sRGB.

    Returns:
        (B, 40) and (B, 3) float64; each row sums to 1.

    Raises:
        ValueError: another dtype or shape.
    """
    size = len(check_pictures(pictures))
    both = _tables()[1].take(_cells(pictures).reshape(size, -1))  # (B, H*W)
    counts = np.array([np.bincount(row, minlength=120) for row in both], np.float64).reshape(size, 40, 3)
    return counts.sum(2) / max(both.shape[1], 1), counts.sum(1) / max(both.shape[1], 1)
