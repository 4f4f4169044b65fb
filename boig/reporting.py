"""How a task says what it sees: a `Reporter` comes in as an argument. Nothing here knows MLflow."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Reporter(Protocol):
    """Where curves, pictures, files and tables of a stage go. Must survive pickling: it travels to Ray workers."""

    def curve(self, step: int, **values: float) -> None:
        """Points of curves, by name, at one step. Cheap: may be called every training step."""

    def picture(self, name: str, picture: np.ndarray, step: int | None = None) -> None:
        """A picture, uint8 (H, W, 3). With a step it becomes one frame of a series."""

    def artifact(self, path: Path) -> None:
        """A file, or a folder with all that is in it."""

    def table(self, name: str, rows: list[dict]) -> None:
        """Rows with equal keys, to look at side by side; a value may be a picture, uint8 (H, W, 3)."""

    def part(self, name: str) -> AbstractContextManager["Reporter"]:
        """A reporter for one of several trainings of a stage, whose curves, of equal names, can then be laid over each other."""

    def flush(self) -> None:
        """Write out what is still buffered. The flow machinery calls it at the end of a run and of each Ray Train worker."""


class Silent:
    """A reporter that does nothing: for tests, notebooks and bare machines."""

    def curve(self, step: int, **values: float) -> None:
        """Nothing."""

    def picture(self, name: str, picture: np.ndarray, step: int | None = None) -> None:
        """Nothing."""

    def artifact(self, path: Path) -> None:
        """Nothing."""

    def table(self, name: str, rows: list[dict]) -> None:
        """Nothing."""

    def part(self, name: str) -> AbstractContextManager["Reporter"]:
        """Itself."""
        return nullcontext(self)

    def flush(self) -> None:
        """Nothing."""
