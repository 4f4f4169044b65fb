"""Processes that must not outlive the one that started them, and work that only one process may do at a time."""

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl."""
PARENT = os.getppid()
"""Who started this process. Taken as `flows` is imported: what a stage imports after it takes seconds, in which its parent may end."""


def die_with_parent() -> None:
    """Get SIGTERM when the parent ends (Linux): a killed `dvc repro` must not leave a stage that still writes beside the next one's."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def orphaned() -> bool:
    """Whether who started this process is gone. The kernel's signal tells only of parents that end after `die_with_parent`."""
    return os.getppid() != PARENT


@contextmanager
def alone(path: Path, waiting: str) -> Iterator[None]:
    """Hold a lock file while the body runs; where another process holds it, say so on standard error and wait until that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
