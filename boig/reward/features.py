"""The numbers that a behavior prompt's text already says, beside its tokens.

Deviation from paper.md §5 (a language model that reads text alone): a small model that has seen 2,500 posts does not
learn that "0.43" is more than "0.27", so the reward head gets the verbalization's numbers as numbers too. Everything here
is parsed from the brief and the verbalization, so the information is the same and only its form differs.

Legend: N rows, P picture features, C context features.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from boig.brief import Brief
from boig.verbalizer import palette
from boig.verbalizer.form import Verbalization

_WORD = re.compile(r"[a-z]{2,}")
_COLOR_AT = {name: i for i, name in enumerate(palette.NAMES)}
_LAB = palette.rgb_to_lab(np.array(list(palette.PALETTE.values()))) / 100.0  # (40, 3)
_YEAR_DAYS = 365.25


def words(text: str) -> list[str]:
    """Lower-case words of at least two letters."""
    return _WORD.findall(text.lower())


def named_labels(caption: str, labels: Sequence[str]) -> frozenset[str]:
    """The labels that a caption names as whole words, singular or with a plural s."""
    text = f" {' '.join(words(caption))} "
    return frozenset(
        label for label in labels if any(f" {' '.join(words(label))}{end} " in text for end in ("", "s", "es")) and words(label)
    )


def mismatch(briefs: Sequence[Brief], verbalizations: Sequence[Verbalization], labels: Sequence[str]) -> np.ndarray:
    """Share of the products named in each caption that are not among the detected objects.

    Args:
        briefs: N briefs.
        verbalizations: N verbalizations.
        labels: object labels that count as products (those seen in training captions).

    Returns:
        (N,) float64 in 0–1; 0 where the caption names none.
    """
    out = np.zeros(len(briefs))
    by_caption = {caption: named_labels(caption, labels) for caption in {b.caption for b in briefs}}
    for i, (brief, verbalization) in enumerate(zip(briefs, verbalizations, strict=True)):
        named = by_caption[brief.caption]
        if named:
            out[i] = len(named - {o.label for o in verbalization.objects}) / len(named)
    return out


@dataclass(frozen=True)
class ContextSpace:
    """Vocabularies of briefs, fixed on the training posts; what is not in them has no column and is left to the tokens."""

    accounts: tuple[str, ...]
    """Seen in training. Another account gets zeros here: the average account of its industry."""
    industries: tuple[str, ...]
    words: tuple[str, ...]
    """Of captions, most frequent first."""

    @classmethod
    def fit(cls, briefs: Sequence[Brief], max_words: int) -> "ContextSpace":
        return cls(
            accounts=tuple(sorted({b.account for b in briefs})),
            industries=tuple(sorted({b.industry for b in briefs})),
            words=_top((w for b in briefs for w in set(words(b.caption))), max_words),
        )

    @property
    def size(self) -> int:
        """C."""
        return len(self.accounts) + len(self.industries) + _TIME_SIZE + len(self.words)

    def encode(self, briefs: Sequence[Brief]) -> np.ndarray:
        """(N, C) float32."""
        rows = {
            b: np.concatenate(
                [_one_hot(b.account, self.accounts), _one_hot(b.industry, self.industries), _time(b), _multi_hot(b.caption, self.words)]
            )
            for b in dict.fromkeys(briefs)
        }
        return np.array([rows[b] for b in briefs], dtype=np.float32).reshape(len(briefs), self.size)


@dataclass(frozen=True)
class PictureSpace:
    """Vocabularies of verbalizations, fixed on the training posts."""

    labels: tuple[str, ...]
    """Of objects, most frequent first."""
    products: tuple[str, ...]
    """The labels that training captions name."""
    words: tuple[str, ...]
    """Of the verbalizations' captions."""

    @classmethod
    def fit(cls, briefs: Sequence[Brief], verbalizations: Sequence[Verbalization], max_labels: int, max_words: int) -> "PictureSpace":
        labels = _top((o.label for v in verbalizations for o in v.objects), max_labels)
        named = frozenset().union(*(named_labels(caption, labels) for caption in {b.caption for b in briefs}))
        return cls(labels, tuple(sorted(named)), _top((w for v in verbalizations for w in set(words(v.caption))), max_words))

    @property
    def size(self) -> int:
        """P."""
        return _FIXED_SIZE + 2 * len(self.labels) + len(self.words) + 1

    def encode(self, briefs: Sequence[Brief], verbalizations: Sequence[Verbalization]) -> np.ndarray:
        """(N, P) float32. The first 40 columns are coverages; the last is the mismatch with the brief's caption."""
        at, word_at = ({item: i for i, item in enumerate(items)} for items in (self.labels, self.words))
        out = np.zeros((len(briefs), self.size), dtype=np.float32)
        for row, v in zip(out, verbalizations, strict=True):
            cover = np.zeros(40)
            for color in v.colors:
                if color.name in _COLOR_AT:
                    cover[_COLOR_AT[color.name]] = color.coverage
            row[:_FIXED_SIZE] = np.concatenate([cover, v.tones, _light(cover), _shape(v)])
            for o in v.objects:
                if o.label in at:
                    row[_FIXED_SIZE + at[o.label]] = 1.0
                    row[_FIXED_SIZE + len(at) + at[o.label]] += o.area
            row[[_FIXED_SIZE + 2 * len(at) + word_at[w] for w in set(words(v.caption)) if w in word_at]] = 1.0
        out[:, -1] = mismatch(briefs, verbalizations, self.products)
        return out


def _top(items: Iterable[str], limit: int) -> tuple[str, ...]:
    """Most frequent first, ties by name; those seen once are left out."""
    ranked = sorted(Counter(items).items(), key=lambda kv: (-kv[1], kv[0]))
    return tuple(name for name, count in ranked[:limit] if count > 1)


def _one_hot(value: str, vocabulary: tuple[str, ...]) -> np.ndarray:
    return np.array([float(value == v) for v in vocabulary])


def _multi_hot(text: str, vocabulary: tuple[str, ...]) -> np.ndarray:
    present = set(words(text))
    return np.array([w in present for w in vocabulary], dtype=float)


_LIGHT_SIZE = 6


def _light(cover: np.ndarray) -> np.ndarray:
    """Mean Lab, spread of lightness (contrast), mean and spread of chroma of the listed colors, each / 100."""
    share = cover / max(cover.sum(), 1e-6)
    mean = share @ _LAB
    chroma = np.hypot(_LAB[:, 1], _LAB[:, 2])
    mean_chroma = share @ chroma
    return np.array([
        *mean, np.sqrt(max(share @ (_LAB[:, 0] - mean[0]) ** 2, 0.0)), mean_chroma, np.sqrt(max(share @ (chroma - mean_chroma) ** 2, 0.0)),
    ])  # fmt: skip


_SHAPE_SIZE = 8


def _shape(v: Verbalization) -> np.ndarray:
    """Object count / 4, total area, and of the largest object: area, center, distance to the middle in x and y, root of area."""
    if not v.objects:
        return np.zeros(_SHAPE_SIZE)
    first = max(v.objects, key=lambda o: o.area)
    x, y = (first.box[0] + first.box[2]) / 2, (first.box[1] + first.box[3]) / 2
    total = sum(o.area for o in v.objects)
    return np.array([len(v.objects) / 4, total, first.area, x - 0.5, y - 0.5, abs(x - 0.5), abs(y - 0.5), np.sqrt(first.area)])


_TIME_SIZE = 7 + 4 + 4 + 24
_FIXED_SIZE = 40 + 3 + _LIGHT_SIZE + _SHAPE_SIZE


def _time(brief: Brief) -> np.ndarray:
    """Weekday one-hot, two harmonics of the day and of the year, hour one-hot; UTC."""
    when = brief.created_at
    day = 2 * np.pi * when.hour / 24  # to the hour, as the prompt says it
    year = 2 * np.pi * when.timetuple().tm_yday / _YEAR_DAYS
    waves = [f(k * angle) for angle in (day, year) for k in (1, 2) for f in (np.sin, np.cos)]
    return np.concatenate([np.eye(7)[when.weekday()], waves, np.eye(24)[when.hour]])
