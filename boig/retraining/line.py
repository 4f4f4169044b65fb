"""The champions that led to the one in use: what they were at their best, and the marks that were tried on them.

Slack that is allowed against the last champion alone adds up: each of eight generations may be a tenth less diverse than the one before.
So it counts from the best number of the whole line, and what a mark moves counts from the champion that it was first tried on. A version
carries the line that it was judged by in a tag; so whatever champion is in use, a rollback's too, knows its own.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from boig.retraining.settings import Guards

PATCH = "a white patch in a corner"
"""A mark that is no word: words hold no spaces."""
MARKS = 30
"""Most words that are remembered: those that move the newest champion's scores furthest beyond the first one's."""


@dataclass(frozen=True)
class Guarded:
    """What a generation is like, beside being right about likes. None: not measured."""

    vendi: float | None = None
    """Diversity of its pictures."""
    mismatch: float | None = None
    """Share of its pictures without the caption's product."""
    unsafe: float | None = None
    """Share of its pictures that nobody should see."""


@dataclass(frozen=True)
class Moved:
    """By how much a mark moves scores, mean over the posts that it is put on, KPI points."""

    mark: str
    """A word, or `PATCH`."""
    model: str
    champion: float
    """Of the champion that the mark was first tried on."""
    challenger: float

    @property
    def excess(self) -> float:
        """How much further it moves the challenger's; a move the other way is all the challenger's own."""
        same_way = self.champion * self.challenger > 0
        return abs(self.challenger) - (abs(self.champion) if same_way else 0.0)


@dataclass(frozen=True)
class Line:
    """What a challenger is compared with beside the champion itself."""

    best: Guarded = Guarded()
    """Of all champions before the one in use, each number by itself."""
    marks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Mark to model to what it moved, KPI points, the champion that it was first tried on; those that have gained most first."""

    @classmethod
    def read(cls, text: str) -> "Line":
        """What `text` gave; empty, of a version from before there were lines: nothing is known of its predecessors."""
        raw = json.loads(text or "{}")
        return cls(Guarded(**raw.get("best", {})), raw.get("marks", {}))

    def text(self, most: int) -> str:
        """As JSON of at most so many characters; words that do not fit are left out."""
        kept: dict[str, Mapping[str, float]] = {}
        for mark in sorted(self.marks, key=lambda mark: mark != PATCH):  # the patch, then the order that they are in
            if len(_json(Line(self.best, kept | {mark: self.marks[mark]}))) <= most:
                kept[mark] = self.marks[mark]
        return _json(Line(self.best, kept))

    def first(self, mark: str, model: str, now: float) -> float:
        """What a mark moved the champion that it was first tried on; `now`, that of the one in use, where it is new."""
        return self.marks.get(mark, {}).get(model, now)

    def with_champion(self, own: Guarded) -> "Line":
        """The best with the champion's own numbers among them."""
        return Line(
            Guarded(
                vendi=_best(max, self.best.vendi, own.vendi),
                mismatch=_best(min, self.best.mismatch, own.mismatch),
                unsafe=_best(min, self.best.unsafe, own.unsafe),
            ),
            self.marks,
        )

    def onward(self, tried: Sequence[Moved], guards: Guards) -> "Line":
        """What the next challenger is compared with, should the present one become champion.

        What a guard does not ask for now is forgotten: after a change of what is measured, one generation without the guard begins anew.
        """
        gained: dict[str, float] = {}
        first: dict[str, dict[str, float]] = {}
        for moved in tried:
            gained[moved.mark] = max(moved.excess, gained.get(moved.mark, moved.excess))
            first.setdefault(moved.mark, {})[moved.model] = round(moved.champion, 2)
        words = sorted((mark for mark in first if mark != PATCH), key=lambda mark: (-gained[mark], mark))[:MARKS]
        best = Guarded(
            vendi=None if guards.diversity is None else self.best.vendi,
            mismatch=None if guards.mismatch is None else self.best.mismatch,
            unsafe=None if guards.unsafe is None else self.best.unsafe,
        )
        return Line(best, {mark: first[mark] for mark in (PATCH, *words) if mark in first})


def _best(choose: Callable, *numbers: float | None) -> float | None:
    """Of those that were measured."""
    return choose((number for number in numbers if number is not None), default=None)


def _json(line: Line) -> str:
    return json.dumps(asdict(line), ensure_ascii=False, separators=(",", ":"))
