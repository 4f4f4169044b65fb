"""Pictures as text: which pictures need work, the work itself as a Ray actor, and the table in picture order.

Rows that were verbalized before are kept in `scratch/verbalize/known`, outside of DVC's outs (which DVC empties before a run), under their
version: a hash of the picture's bytes and of everything else that the text depends on. Actors add each batch as they finish it, so a killed
run goes on where it was. Rows with an error are not kept: they are tried again.
"""

import hashlib
import io
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from boig.contracts import PICTURES, VERBALIZED
from boig.evaluation.bootstrap import Estimate, estimate
from boig.sections.verbalize import Verbalize
from boig.simulator.render import render
from boig.simulator.scenes import sample_scene
from boig.verbalizer.captioner import TEXT
from boig.verbalizer.form import ObjectBox, Verbalization
from boig.verbalizer.matching import match
from boig.verbalizer.verbalizer import build
from boig.verbalizer.version import identity, version

KNOWN = Path("scratch/verbalize/known")
_SHEET = (4, 4)  # rows, columns of the contact sheet
_CELL = 128  # px
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True)
class Work:
    """What a run has to do."""

    order: tuple[tuple[str, str], ...]
    """(picture_id, version) of every picture, in the order of the pictures table."""
    todo: tuple[dict, ...]
    """Rows for `PictureVerbalizer`, one per picture that is not known."""
    known: dict[str, dict]
    """Rows of the verbalized table by version."""


def plan(section: Verbalize, root: Path = Path(".")) -> Work:
    """Which pictures need work, given what is known.

    Raises:
        FileNotFoundError: the pictures, or a model's folder, are missing.
        ValueError: no pictures, or a hub id without a revision.
    """
    pictures = PICTURES.read(root)
    if not len(pictures):
        raise ValueError(f"{PICTURES.path} holds no pictures; look into {Path(root) / 'data/posts/quarantine.parquet'} for the reasons")
    which = identity(section.detector, section.captioner, section.min_coverage)
    rows = [
        (name, version(png, which), png) for name, png in zip(pictures["picture_id"].to_pylist(), pictures["png"].to_pylist(), strict=True)
    ]
    known = _read_known(Path(root) / KNOWN, {v for _, v, _ in rows})
    todo = tuple({"picture_id": name, "version": v, "png": png, "keep": True} for name, v, png in rows if v not in known)
    return Work(tuple((name, v) for name, v, _ in rows), todo, known)


def _read_known(folder: Path, wanted: set[str]) -> dict[str, dict]:
    known: dict[str, dict] = {}
    for path in sorted(folder.glob("*.parquet")):
        known |= {
            row["version"]: row
            for row in VERBALIZED.check(pq.read_table(path).cast(VERBALIZED.schema)).to_pylist()
            if row["version"] in wanted
        }
    return known


class PictureVerbalizer:
    """Callable for Ray actors: `picture_id`, `version`, `png`, `keep` in; rows of the verbalized table out."""

    def __init__(self, section: Verbalize, known: str) -> None:
        """known: folder to which finished rows are added.

        Raises:
            FileNotFoundError, ValueError: see `boig.verbalizer.verbalizer.build`.
        """
        self.verbalizer = build(section, "cuda" if section.resources.gpus else "cpu")
        self.known = Path(known)

    def __call__(self, rows: list[dict]) -> list[dict]:
        answers: list[Verbalization | str] = [""] * len(rows)
        by_size: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
        for i, row in enumerate(rows):
            try:
                picture = _decode(row["png"])
                by_size.setdefault(picture.shape, []).append((i, picture))
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what PIL raises on bad files
                answers[i] = _reason(error)
        for group in by_size.values():
            for (i, _), answer in zip(group, self._verbalized([p for _, p in group]), strict=True):
                answers[i] = answer
        result = [_row(row["picture_id"], row["version"], answer) for row, answer in zip(rows, answers, strict=True)]
        self._keep([out for row, out in zip(rows, result, strict=True) if row["keep"] and not out["error"]])
        return result

    def _verbalized(self, pictures: list[np.ndarray]) -> list[Verbalization | str]:
        """Verbalizations of pictures of one size; where that fails, halves are tried, so that one bad picture costs itself only."""
        try:
            return list(self.verbalizer.verbalize(np.stack(pictures)))
        except Exception as error:  # noqa: BLE001 - any backend; the reason becomes the row's error
            if len(pictures) == 1:
                return [_reason(error)]
            half = len(pictures) // 2
            return self._verbalized(pictures[:half]) + self._verbalized(pictures[half:])

    def _keep(self, rows: list[dict]) -> None:
        if rows:
            name = hashlib.sha256("".join(r["version"] for r in rows).encode()).hexdigest()[:16]
            replace(VERBALIZED, path=f"{name}.parquet").write(rows, self.known)


def _decode(png: bytes) -> np.ndarray:
    """uint8 (H, W, 3)."""
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"))


def _reason(error: Exception) -> str:
    """One line, the same for the same picture: messages with memory addresses are cut."""
    return f"{type(error).__name__}: {' '.join(_ADDRESS.sub('', str(error)).split())}"[:200]


def _row(picture_id: str, version_: str, answer: Verbalization | str) -> dict:
    """One row of the verbalized table; a string is an error."""
    row = {"picture_id": picture_id, "version": version_, "text": "", "colors": [], "warm": 0.0, "neutral": 0.0, "cool": 0.0}
    row |= {"objects": [], "caption": "", "error": ""}
    if isinstance(answer, str):
        return row | {"error": answer or "unknown"}
    warm, neutral, cool = answer.tones
    return row | {
        "text": answer.to_json(), "warm": warm, "neutral": neutral, "cool": cool, "caption": answer.caption,
        "colors": [{"name": c.name, "coverage": c.coverage} for c in answer.colors],
        "objects": [{"label": o.label, "box": list(o.box), "score": o.score} for o in answer.objects],
    }  # fmt: skip


def assemble(work: Work, done: list[dict], root: Path = Path(".")) -> list[dict]:
    """Write the verbalized table in picture order, and keep exactly its good rows as known.

    Args:
        work: the plan.
        done: what `PictureVerbalizer` made of `work.todo`.
        root: the workspace.

    Raises:
        ValueError: not one picture could be verbalized; says why the first could not.
    """
    fresh = {row["version"]: row for row in done}
    found = {**fresh, **work.known}
    rows = [found[v] | {"picture_id": name} for name, v in work.order]
    good = [row for row in rows if not row["error"]]
    if not good:
        raise ValueError(f"none of {len(rows)} pictures could be verbalized; the first: {rows[0]['error']}")
    VERBALIZED.write(rows, root)
    folder = Path(root) / KNOWN
    old = sorted(folder.glob("*.parquet"))
    kept = replace(VERBALIZED, path="known.parquet").write(good, folder)
    for path in old:
        if path != kept:
            path.unlink()
    return rows


def check_rows(count: int, seed: int) -> tuple[list[dict], list[tuple[ObjectBox, ...]]]:
    """Freshly rendered pictures as rows for `PictureVerbalizer`, and the products in each.

    Args:
        count: pictures; 0 for none.
        seed: draws the scenes.
    """
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng) for _ in range(count)]
    rows = [{"picture_id": f"check-{i}", "version": "", "png": _png(render(scene)), "keep": False} for i, scene in enumerate(scenes)]
    return rows, [tuple(ObjectBox(p.kind, p.box) for p in scene.products) for scene in scenes]


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def check_scores(truths: list[tuple[ObjectBox, ...]], rows: list[dict], seed: int) -> dict[str, Estimate]:
    """`label_accuracy` and `mean_iou` over true products, intervals clustered by picture; empty without checked pictures.

    Args:
        truths: products of each checked picture.
        rows: what `PictureVerbalizer` made of the pictures.
        seed: of the bootstrap.
    """
    matches = [
        match(truth, tuple(ObjectBox(o["label"], tuple(o["box"]), o["score"]) for o in row["objects"] if o["label"] != TEXT))
        for truth, row in zip(truths, rows, strict=True)
    ]
    picture = [i for i, m in enumerate(matches) for _ in m.right]
    if not picture:
        return {}
    return {
        "label_accuracy": estimate([float(r) for m in matches for r in m.right], picture, seed=seed),
        "mean_iou": estimate([v for m in matches for v in m.ious], picture, seed=seed),
    }


def metrics(rows: list[dict], scores: dict[str, Estimate], computed: int, seconds: float) -> dict:
    """The stage's metrics.

    Args:
        rows: the verbalized table.
        scores: see `check_scores`.
        computed: pictures that actors worked on, checked ones included.
        seconds: wall time of that, start of Ray included.
    """
    failed = sum(bool(row["error"]) for row in rows)
    rate = round(computed / seconds, 1) if computed else 0.0
    return {"rows_in": len(rows), "ok": len(rows) - failed, "failed": failed, "pictures_per_s": rate} | scores


def sheet(rows: list[dict], root: Path = Path(".")) -> np.ndarray:
    """The first good pictures with their boxes drawn in, uint8 (512, 512, 3)."""
    down, across = _SHEET
    page = Image.new("RGB", (across * _CELL, down * _CELL), (255, 255, 255))
    table = PICTURES.read(root)
    pngs = dict(zip(table["picture_id"].to_pylist(), table["png"].to_pylist(), strict=True))
    for i, row in enumerate([r for r in rows if not r["error"]][: down * across]):
        picture = Image.fromarray(_decode(pngs[row["picture_id"]])).resize((_CELL, _CELL))
        draw = ImageDraw.Draw(picture)
        for found in row["objects"]:
            draw.rectangle([v * (_CELL - 1) for v in found["box"]], outline=(255, 0, 255))
        page.paste(picture, (i % across * _CELL, i // across * _CELL))
    return np.asarray(page)
