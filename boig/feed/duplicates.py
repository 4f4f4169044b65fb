"""Near-duplicate pictures: close by perceptual hash *and* close as 16 × 16 thumbnails.

The hash alone sees frequencies of gray; two flat pictures of different colors have one hash. The thumbnail alone is too lenient on small
shapes. Both together leave different pictures apart (bits and levels are parameters).
"""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from boig.feed.picture import Picture
from boig.feed.rules import Duplicates

_BLOCK = 512


def alike(a: Picture, b: Picture, rule: Duplicates) -> bool:
    """Whether two pictures are near-duplicates."""
    if (a.phash ^ b.phash).bit_count() > rule.phash_bits:
        return False
    x, y = (np.frombuffer(p.thumbnail, dtype=np.uint8).astype(np.int16) for p in (a, b))
    return float(np.abs(x - y).mean()) <= rule.thumbnail_levels


def components(pictures: list[Picture], rule: Duplicates) -> np.ndarray:
    """The number of each picture's near-duplicate component, (N,) int; near-duplicates of near-duplicates are in one component."""
    if not pictures:
        return np.zeros(0, dtype=np.int64)
    hashes = np.array([p.phash for p in pictures], dtype=np.uint64)  # (N,)
    thumbnails = np.stack([np.frombuffer(p.thumbnail, dtype=np.uint8) for p in pictures]).astype(np.int16)  # (N, 768)
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for left, right in close_hashes(hashes, rule.phash_bits):
        near = np.abs(thumbnails[left] - thumbnails[right]).mean(axis=1) <= rule.thumbnail_levels
        pairs.append(np.stack([left[near], right[near]], axis=1))
    edges = np.concatenate(pairs)
    return joined(len(pictures), edges)


def joined(count: int, edges: np.ndarray) -> np.ndarray:
    """Component number of each of `count` nodes under undirected edges, (E, 2) int."""
    graph = coo_array((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def close_hashes(hashes: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Index pairs whose hashes differ in at most `bits` bits; a pair may come more than once.

    Cut into bits + 1 bands, two such hashes agree in at least one band: only pictures that share a band are compared.
    """
    edges = np.linspace(0, 64, bits + 2).astype(int)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        band = (hashes >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.argsort(band, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            for start in range(0, len(bucket) - 1, _BLOCK):
                rows = bucket[start : start + _BLOCK]
                distance = np.bitwise_count(hashes[rows, None] ^ hashes[bucket[None, start:]])  # (R, C)
                left, right = np.nonzero(np.triu(distance <= bits, 1))
                for piece in range(0, len(left), 2**16):  # thumbnails of so many pairs at once
                    yield rows[left[piece : piece + 2**16]], bucket[start + right[piece : piece + 2**16]]
