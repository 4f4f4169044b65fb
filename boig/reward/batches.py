"""Texts in batches of fixed shapes, so that a result does not depend on what else is in the batch.

Matrix libraries choose their kernels by shape, and kernels differ in the last bits. A text is padded to its own length rounded
up, and a batch to a fixed number of rows: the shapes that a text meets depend on that text alone.
"""

from collections.abc import Iterator, Sequence

import torch

ROWS = 8  # per batch: 8 texts of 80 tokens fill the matrix units of a core, and few rows are padding
LENGTH = 8  # lengths are rounded up to a multiple of this


def fixed(ids: Sequence[Sequence[int]], pad: int, rows: int = ROWS) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """Batches of texts of similar length.

    Args:
        ids: N token sequences, each of at least one token.
        pad: token to fill up with, on the right.
        rows: of a batch.

    Yields:
        positions in `ids` (b ≤ rows of them), input_ids (rows, T), attention_mask (rows, T); the rows past b repeat the first.
    """
    width = [-(-len(i) // LENGTH) * LENGTH for i in ids]
    order = sorted(range(len(ids)), key=lambda i: (width[i], i))
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and end - start < rows and width[order[end]] == width[order[start]]:
            end += 1
        at = order[start:end]
        filled = at + [at[0]] * (rows - len(at))
        tokens = torch.full((rows, width[at[0]]), pad)
        mask = torch.zeros_like(tokens)
        for row, i in enumerate(filled):
            tokens[row, : len(ids[i])] = torch.tensor(ids[i])
            mask[row, : len(ids[i])] = 1
        yield at, tokens, mask
        start = end
