"""How each alignment run went: its looks at the panel, and what the panel would have brought under the true law.

Training may not know the law, so it keeps the panel's pictures and this stage looks at them in hindsight.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from boig.brief import Brief

_LEAST_LIKES = 1.0  # as in `tabulate`


def read(adapters: Path) -> dict[str, list[dict]]:
    """Per method the looks of its curves.json; methods without any are left out."""
    found = {path.parent.name: json.loads(path.read_text()).get("looks", []) for path in sorted(adapters.glob("*/curves.json"))}
    return {name: looks for name, looks in found.items() if looks}


def panel_rows(adapters: Path, briefs: dict[str, Brief]) -> list[dict]:
    """The kept pictures of all panels: {method, iteration, place, brief, png}.

    Args:
        adapters: models/boigsd.
        briefs: by post id.
    """
    return [
        {"method": path.parent.parent.name, "iteration": int(path.stem), "place": place, "brief": briefs[row["post_id"]], "png": row["png"]}
        for path in sorted(adapters.glob("*/panel/*.parquet"))
        for place, row in enumerate(pq.read_table(path).to_pylist())
    ]


def with_likes(looks: dict[str, list[dict]], rows: list[dict]) -> dict[str, list[dict]]:
    """The looks with `likes`: mean over the panel of expected likes relative to the picture of the run's first look, same brief and seed.

    Args:
        looks: from `read`.
        rows: {method, iteration, place, likes}.
    """
    likes: dict[tuple[str, int], dict[int, float]] = {}
    for row in rows:
        likes.setdefault((row["method"], row["iteration"]), {})[row["place"]] = row["likes"]
    return {
        name: [look | _relative(likes, name, int(look["iteration"]), int(run[0]["iteration"])) for look in run]
        for name, run in looks.items()
    }


def _relative(likes: dict[tuple[str, int], dict[int, float]], name: str, iteration: int, first: int) -> dict[str, float]:
    now, before = likes.get((name, iteration)), likes.get((name, first))
    if now is None or before is None:
        return {}
    return {"likes": float(np.mean([now[place] / max(before[place], _LEAST_LIKES) for place in now]))}
