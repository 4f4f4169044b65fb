"""How jobs travel to Ray's workers, and exceptions back."""

import os
import pickle
import sys
import traceback
from dataclasses import dataclass
from typing import Any

import cloudpickle

from flows import handover
from flows.handover import Handover


@dataclass(frozen=True)
class Sealed:
    """Something pickled, with the driver's working folder and module path: a worker goes there before it unpickles.

    Paths in arguments are relative to the working folder, and what is pickled by reference must be found in the same places. Where a node
    has no such folder, the stage's `Handover` makes one.
    """

    root: str
    path: tuple[str, ...]
    payload: bytes
    handover: Handover | None

    @classmethod
    def of(cls, thing: Any) -> "Sealed":
        if ours := handover.current():
            ours.push()
        return cls(os.getcwd(), tuple(entry for entry in sys.path if os.path.isdir(entry)), cloudpickle.dumps(thing), ours)

    def open(self) -> Any:
        root = self.root
        if self.handover:
            root = str(self.handover.arrive())
        elif not os.path.isdir(root):
            raise FileNotFoundError(f"this Ray node has no {root}; mount the workspace at the same path on every node, or BOIG_HANDOVER=s3")
        os.chdir(root)
        sys.path.extend(entry for entry in (root, *self.path) if entry not in sys.path)
        return cloudpickle.loads(self.payload)

    def deliver(self) -> None:
        """Hand over what was written on a node that has no such folder."""
        if self.handover and self.handover.away:
            self.handover.push()


@dataclass(frozen=True)
class Raised:
    """An exception as an answer: it travels as itself, and Ray neither wraps, prints nor retries it."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> "Raised":
        error.add_note("in a Ray worker:\n" + traceback.format_exc())
        try:
            pickle.loads(pickle.dumps(error))
        except (TypeError, AttributeError, pickle.PicklingError):
            return cls(RuntimeError(f"{type(error).__name__}: {error}"))
        return cls(error)


def value_of(answer: Any) -> Any:
    """The answer; a `Raised` is raised."""
    if isinstance(answer, Raised):
        raise answer.error
    return answer
