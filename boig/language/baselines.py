"""What BoigLLM must beat: the account's own frequencies, and the picture of the post with the nearest caption."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from boig.brief import Brief
from boig.language.consensus import color_gain
from boig.language.describe import unit_tones
from boig.language.examples import Example
from boig.language.prompts import picture_prompt
from boig.verbalizer.form import MAX_COLORS, MAX_OBJECTS, ColorShare, ObjectBox, Verbalization
from boig.verbalizer.palette import NAMES

Encode = Callable[[Sequence[str]], np.ndarray]
"""Texts → (N, d) embeddings of unit length."""
_TIE = 1e-5  # cosines closer than this are equal: the same caption, up to rounding


class Frequency:
    """The account's mean picture in training; its industry's for an unseen account, all posts' for an unseen industry."""

    def __init__(self, posts: Sequence[Example]):
        """Count.

        Raises:
            ValueError: no posts.
        """
        if not posts:
            raise ValueError("no training posts to count")
        groups: dict[tuple[str, str], list[Verbalization]] = defaultdict(list)
        for example in posts:
            for key in (("account", example.brief.account), ("industry", example.brief.industry), ("all", "")):
                groups[key].append(example.verbalization)
        self._means = {key: mean_picture(group) for key, group in groups.items()}

    def describe(self, briefs: Sequence[Brief]) -> list[Verbalization]:
        """One verbalization per brief."""
        keys = [[("account", b.account), ("industry", b.industry), ("all", "")] for b in briefs]
        return [next(self._means[key] for key in order if key in self._means) for order in keys]


class Neighbor:
    """The picture of the training post whose caption is nearest by cosine; among equals the same account's, then the latest."""

    def __init__(self, posts: Sequence[Example], encode: Encode):
        """Embed the captions of the training posts, without links, mentions and hashtags.

        Raises:
            ValueError: no posts.
        """
        if not posts:
            raise ValueError("no training posts to search")
        self._posts = sorted(posts, key=lambda e: (e.brief.created_at, e.brief.post_id))
        self._encode = encode
        self._captions = encode([picture_prompt(e.brief.caption) for e in self._posts])  # (N, d)

    def describe(self, briefs: Sequence[Brief]) -> list[Verbalization]:
        """One verbalization per brief."""
        cosines = self._encode([picture_prompt(b.caption) for b in briefs]) @ self._captions.T  # (B, N)
        return [self._posts[self._best(row, brief)].verbalization for row, brief in zip(cosines, briefs, strict=True)]

    def _best(self, cosines: np.ndarray, brief: Brief) -> int:
        nearest = np.flatnonzero(cosines >= cosines.max() - _TIE)
        return max(nearest.tolist(), key=lambda i: (self._posts[i].brief.account == brief.account, i))


def mean_picture(verbalizations: Sequence[Verbalization]) -> Verbalization:
    """The most frequent names and labels with their mean coverage and boxes.

    Of labels as many as a picture has on average; of names as many as agree best with the pictures, by the gain that BoigLLM's consensus
    goes by: the published coverage error is over the union of names, and a longer list has a smaller one.
    """
    n = len(verbalizations)
    seen = Counter(c.name for v in verbalizations for c in v.colors)
    coverage = {name: sum(c.coverage for v in verbalizations for c in v.colors if c.name == name) / n for name in seen}
    ranked = [ColorShare(name, round(coverage[name], 2)) for name in _top(seen, MAX_COLORS, list(NAMES))]
    lists = [tuple(ranked[:m]) for m in range(1, len(ranked) + 1)]
    colors = max(lists, key=lambda c: sum(color_gain(c, v) for v in verbalizations), default=())
    boxes: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for v in verbalizations:
        for label, box in {o.label: o.box for o in reversed(v.objects)}.items():  # the largest of each label
            boxes[label].append(box)
    found = Counter({label: len(all_boxes) for label, all_boxes in boxes.items()})
    labels = _top(found, min(MAX_OBJECTS, round(sum(found.values()) / n)), sorted(found))
    objects = []
    for label in labels:
        x0, y0, x1, y1 = np.mean(boxes[label], axis=0).round(2).tolist()
        objects.append(ObjectBox(label, (x0, y0, x1, y1)))
    return Verbalization(
        tuple(sorted(colors, key=lambda c: (-c.coverage, c.name))),
        unit_tones(np.mean([v.tones for v in verbalizations], axis=0).tolist()),
        tuple(sorted(objects, key=lambda o: (-o.area, o.label))),
        Counter(v.caption for v in verbalizations).most_common(1)[0][0],
    )


def _top(counts: Counter, size: int, order: list[str]) -> list[str]:
    """The most counted keys; equal counts in the given order."""
    return sorted(counts, key=lambda key: (-counts[key], order.index(key)))[:size]
