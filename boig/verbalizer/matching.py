"""How well found objects agree with true ones."""

from dataclasses import dataclass

from boig.verbalizer.detector import iou
from boig.verbalizer.form import ObjectBox

_MIN_IOU = 0.3  # below, a box is about something else; ours


@dataclass(frozen=True)
class Match:
    """Agreement of one picture's objects with the truth."""

    right: tuple[bool, ...]
    """For each true object: some found object overlaps it, and the one that overlaps most has its label."""
    ious: tuple[float, ...]
    """For each true object: overlap with that found object, 0–1; 0 where there is none."""
    spurious: int
    """Found objects that belong to no true one."""


def match(truth: tuple[ObjectBox, ...], found: tuple[ObjectBox, ...]) -> Match:
    """Pair each true object with the unused found object that overlaps it most, largest overlap first."""
    pairs = sorted(((iou(t.box, f.box), i, j) for i, t in enumerate(truth) for j, f in enumerate(found)), key=lambda p: (-p[0], p[1], p[2]))
    partner: dict[int, tuple[float, int]] = {}
    used: set[int] = set()
    for overlap, i, j in pairs:
        if overlap >= _MIN_IOU and i not in partner and j not in used:
            partner[i] = (overlap, j)
            used.add(j)
    right = tuple(i in partner and found[partner[i][1]].label == t.label for i, t in enumerate(truth))
    return Match(right, tuple(partner[i][0] if i in partner else 0.0 for i in range(len(truth))), len(found) - len(used))
