"""Predictions that a stage puts aside, one file per model: what is measured, and how an interrupted run knows what is done."""

import os
from pathlib import Path

import numpy as np


def keep(folder: Path, model: str, columns: dict[str, tuple[np.ndarray, ...]]) -> None:
    """Put a model's predictions aside, all at once.

    Args:
        folder: of the stage's progress.
        model: its name in the metrics.
        columns: per set of posts the score, and for rewards sigma and KPI points; (N,) each.
    """
    place = _place(folder, model)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(".draft")
    with draft.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{posts: np.stack(values) for posts, values in columns.items()})
    os.replace(draft, place)


def kept(folder: Path, model: str, posts: str) -> np.ndarray:
    """What `keep` has put aside for a set of posts, (1 or 3, N)."""
    return np.load(_place(folder, model))[posts]


def models(folder: Path) -> list[str]:
    """Names of the models with predictions, sorted."""
    return sorted(path.stem for path in _place(folder, "").parent.glob("*.npz"))


def done(folder: Path, model: str) -> bool:
    """Whether the model's predictions are there."""
    return _place(folder, model).is_file()


def _place(folder: Path, model: str) -> Path:
    return folder / "predictions" / f"{model}.npz"
