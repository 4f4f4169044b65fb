"""Texts in batches of fixed shapes, so that a result does not depend on what else is in the batch.

Matrix libraries choose their kernels by shape, and kernels differ in the last bits. So a text is padded to its own length rounded
up, whatever stands beside it. How many rows a batch has decides on no kernel of a CPU, as far as it was measured (1 to 24 rows,
bits equal); elsewhere it may, and there a batch is filled up to a fixed number of rows, which accelerators hardly notice.
"""

from collections.abc import Iterator, Sequence

import torch

ROWS = 8  # per batch: 8 texts of 80 tokens fill the matrix units of a core; more fall out of its cache
LENGTH = 8  # lengths are rounded up to a multiple of this, see `width`


def width(tokens: int, length: int = LENGTH) -> int:
    """Columns of the batch in which a text stands: the last one is always padding, since without any attention takes another kernel."""
    return (tokens // length + 1) * length


def fixed(
    ids: Sequence[Sequence[int]], pad: int, device: torch.device | str = "cpu", rows: int = ROWS, length: int = LENGTH
) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """Batches of texts of similar length.

    Args:
        ids: N token sequences, each of at least one token.
        pad: token to fill up with, on the right.
        device: where the tensors go, and the texts will be read.
        rows: of a batch at most.
        length: see `width`.

    Yields:
        positions in `ids` (b ≤ rows of them), input_ids (R, T), attention_mask (R, T); R is b on a CPU, and `rows` elsewhere, where
        the rows past b repeat the first.
    """
    columns = [width(len(i), length) for i in ids]
    order = sorted(range(len(ids)), key=lambda i: (columns[i], i))
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and end - start < rows and columns[order[end]] == columns[order[start]]:
            end += 1
        at = order[start:end]
        filled = at if torch.device(device).type == "cpu" else at + [at[0]] * (rows - len(at))
        tokens = torch.full((len(filled), columns[at[0]]), pad)
        mask = torch.zeros_like(tokens)
        for row, i in enumerate(filled):
            tokens[row, : len(ids[i])] = torch.tensor(ids[i])
            mask[row, : len(ids[i])] = 1
        yield at, tokens.to(device), mask.to(device)
        start = end
