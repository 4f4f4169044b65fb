"""`python -m tests.faults.launch`: one retraining that stops at a point of its work until it is told to go on, or is ended there.

The point is in FAULT_POINT: `before` or `after`, the dotted name of a function that the retraining calls, and which of its calls (the first
where it is not said).
"""

import functools
import itertools
import os
import pkgutil
import sys
import time
from pathlib import Path


def hold() -> None:
    """Say that the point is reached, and wait there."""
    folder = Path(os.environ["FAULT_FOLDER"])
    (folder / "reached").write_text(str(os.getpid()))
    while not (folder / "go").exists():
        time.sleep(0.02)


def instrument(point: str) -> None:
    """Put the waiting before or after a function."""
    when, name, *number = point.split()
    calls = itertools.count(1)
    asked = int(number[0]) if number else 1
    owner_name, _, attribute = name.rpartition(".")
    owner = pkgutil.resolve_name(owner_name)
    function = getattr(owner, attribute)

    @functools.wraps(function)
    def held(*args, **kwargs):
        this = next(calls) == asked
        if this and when == "before":
            hold()
        result = function(*args, **kwargs)
        if this and when == "after":
            hold()
        return result

    setattr(owner, attribute, held)


if __name__ == "__main__":
    from flows import retrain

    if os.environ.get("FAULT_POINT", "stage").split()[0] in ("before", "after"):
        instrument(os.environ["FAULT_POINT"])
    raise SystemExit(retrain.main(sys.argv[1:]))
