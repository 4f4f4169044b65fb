"""How different pictures are from each other: what our method is paid for, and what the panel guards.

A reward for pictures is first hacked in color: one ground that pleases, for every product. A mean distance between pictures does not
see that (light blue and orange are as far apart as fourteen colors are, on average), nor does a likeness of thumbnails (products still
stand in different places). The likeness here is the cosine of two pictures' palettes; its matrix is the kernel of the Vendi score
(Friedman & Dieng 2023, arXiv 2210.02410).
"""

import numpy as np

from boig.verbalizer.palette import shares


def palette(pictures: np.ndarray) -> np.ndarray:
    """(N, 40) float64 share of each color name in pictures, uint8 (N, H, W, 3); rows of length 1, so that products are cosines."""
    coverage = shares(pictures)[0].astype(np.float64)
    return coverage / np.linalg.norm(coverage, axis=1, keepdims=True)


def novelty(palettes: np.ndarray) -> np.ndarray:
    """(N,) minus the log of each picture's mean likeness to all N, itself included: 0 where all are equal, log N for one like no other."""
    return -np.log((palettes @ palettes.T).mean(1))


def variety(palettes: np.ndarray) -> float:
    """Vendi score, 1 … N, the effective number of different pictures: exp of the entropy of the eigenvalues of the kernel / N."""
    values = np.linalg.eigvalsh(palettes @ palettes.T / len(palettes))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))
