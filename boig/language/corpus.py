"""The posts of a workspace joined with what their pictures show, by split."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from boig.brief import Brief
from boig.contracts import NEGATIVES, POSTS, SPLITS, VERBALIZED
from boig.language.examples import Example
from boig.verbalizer.form import Verbalization


@dataclass(frozen=True)
class Corpus:
    """Examples by split, and the negatives of split train."""

    splits: dict[str, tuple[Example, ...]]
    """Every split of `contracts.SPLITS`, possibly empty, by time and post id."""
    negatives: tuple[Example, ...]
    without_picture: int
    """Posts and negatives left out because their picture could not be verbalized."""


def read(root: Path = Path(".")) -> Corpus:
    """Read posts, negatives and verbalizations.

    Args:
        root: the workspace.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: a table does not keep its contract, or a verbalization its form.
    """
    pictures = VERBALIZED.read(root).select(["picture_id", "text", "error"]).to_pylist()
    shown = {p["picture_id"]: Verbalization.from_json(p["text"]) for p in pictures if not p["error"]}
    posts = sorted(POSTS.read(root).to_pylist(), key=lambda p: (p["created_at"], p["post_id"]))
    negatives = NEGATIVES.read(root).to_pylist()
    splits: dict[str, list[Example]] = defaultdict(list)
    briefs: dict[str, Brief] = {}
    for post in posts:
        briefs[post["post_id"]] = brief = Brief(post["post_id"], post["account"], post["industry"], post["created_at"], post["caption"])
        if post["picture_id"] in shown:
            splits[post["split"]].append(Example(brief, post["bucket"], round(post["kpi"]), shown[post["picture_id"]]))
    foreign = [
        Example(briefs[n["post_id"]], n["bucket"], round(n["kpi"]), shown[n["picture_id"]])
        for n in negatives
        if n["post_id"] in briefs and n["picture_id"] in shown
    ]
    used = sum(map(len, splits.values())) + len(foreign)
    return Corpus({name: tuple(splits[name]) for name in SPLITS}, tuple(foreign), len(posts) + len(negatives) - used)
