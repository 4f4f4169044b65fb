"""The verbalization of one picture: strict JSON with a fixed key order and two decimals (paper.md §3).

`{"colors":[{"name":"Red","coverage":0.43},…],"tones":{"warm":0.50,"neutral":0.30,"cool":0.20},
"objects":[{"label":"cup","box":[0.25,0.25,0.75,0.75]},…],"caption":"…"}`, colors and objects largest first.
"""

import json
from dataclasses import dataclass

Box = tuple[float, float, float, float]
MAX_COLORS = 5
MAX_OBJECTS = 4


@dataclass(frozen=True)
class ColorShare:
    """A palette name and the share of the picture it covers, 0–1, two decimals."""

    name: str
    coverage: float


@dataclass(frozen=True)
class ObjectBox:
    """A detected object: label, (x0, y0, x1, y1) in 0–1 (x right, y down), and the detector's confidence 0–1.

    The confidence is not part of the text.
    """

    label: str
    box: Box
    score: float = 1.0

    @property
    def area(self) -> float:
        """Share of the picture, 0–1."""
        return max(0.0, self.box[2] - self.box[0]) * max(0.0, self.box[3] - self.box[1])


@dataclass(frozen=True)
class Verbalization:
    """What a picture shows, as text can say it."""

    colors: tuple[ColorShare, ...]
    """At most `MAX_COLORS`, largest first."""
    tones: tuple[float, float, float]
    """warm, neutral, cool; sums to 1."""
    objects: tuple[ObjectBox, ...]
    """At most `MAX_OBJECTS`, largest first."""
    caption: str
    """One sentence, no quotes or backslashes."""

    def to_json(self) -> str:
        """The canonical text; equal verbalizations give equal bytes."""
        colors = ",".join(f'{{"name":"{c.name}","coverage":{c.coverage:.2f}}}' for c in self.colors)
        warm, neutral, cool = self.tones
        objects = ",".join(f'{{"label":{json.dumps(o.label)},"box":[{",".join(f"{v:.2f}" for v in o.box)}]}}' for o in self.objects)
        return (
            f'{{"colors":[{colors}],"tones":{{"warm":{warm:.2f},"neutral":{neutral:.2f},"cool":{cool:.2f}}},'
            f'"objects":[{objects}],"caption":{json.dumps(self.caption, ensure_ascii=False)}}}'
        )

    @classmethod
    def from_json(cls, text: str) -> "Verbalization":
        """Parse the canonical text.

        Raises:
            ValueError: not the form above; the message names what is wrong.
        """
        try:
            raw = json.loads(text)
            if list(raw) != ["colors", "tones", "objects", "caption"]:
                raise ValueError(f"keys must be colors, tones, objects, caption in this order, got {list(raw)}")
            colors = tuple(ColorShare(str(c["name"]), float(c["coverage"])) for c in raw["colors"])
            tones = (float(raw["tones"]["warm"]), float(raw["tones"]["neutral"]), float(raw["tones"]["cool"]))
            objects = tuple(ObjectBox(str(o["label"]), _box(o["box"])) for o in raw["objects"])
            return cls(colors, tones, objects, str(raw["caption"]))
        except (TypeError, KeyError, json.JSONDecodeError, AttributeError) as error:
            raise ValueError(f"not a verbalization ({type(error).__name__}: {error}): {text[:80]!r}") from error


def _box(values: list) -> Box:
    if len(values) != 4:
        raise ValueError(f"a box has four numbers, got {values}")
    x0, y0, x1, y1 = (float(v) for v in values)
    return (x0, y0, x1, y1)
