"""Pairs that do not belong together: a post and the picture of another one, which shows another product.

Generated pictures fail this way now and then (paper.md §5), so a reward and a judge must tell such a pair from the true one. These pairs
are of held-out posts and only measured; the mismatched negatives of training are drawn in ingest.
"""

from collections.abc import Sequence

import numpy as np

from boig.verbalizer.form import Verbalization

_TEXT = "text"  # label of a line of text, which is no product


def draw(verbalizations: Sequence[Verbalization], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For each post another one of the same split, whose largest product is not among this post's own.

    Args:
        verbalizations: of N posts' own pictures, objects from large to small.
        seed: equal inputs give equal pairs.

    Returns:
        (M,) row numbers of posts and (M,) of the posts whose picture they get; M < N where a post has no such other.
    """
    products = [[o.label for o in v.objects if o.label != _TEXT] or [""] for v in verbalizations]
    main = np.array([labels[0] for labels in products], dtype=object)
    rng = np.random.default_rng([seed, len(main)])
    rows, partners = [], []
    for row, labels in enumerate(products):
        others = np.flatnonzero(~np.isin(main, labels))
        if len(others):
            rows.append(row)
            partners.append(int(rng.choice(others)))
    return np.array(rows, dtype=np.int64), np.array(partners, dtype=np.int64)
