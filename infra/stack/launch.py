"""What the supervisor runs for each part: `python -m infra.stack.launch <part>` becomes that part.

It first ends what an earlier start of the part has left (a supervisor that was killed, a server whose children live on): that would hold
the ports. Secrets reach the part here, by its environment, so that no settings file of the supervisor holds them.
"""

import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

from infra.stack import health
from infra.stack.keys import ensure
from infra.stack.services import services
from infra.stack.settings import Stack, load

MARK = "BOIG_STACK_PART"
"""Environment variable of every process of a part: the stack's folder and the part's name."""
GRACE_S = 3.0
SETTINGS = ("AWS_", "BOIG_", "DATABASE_", "MLFLOW_", "_MLFLOW_", "PREFECT_", "RAY_")
"""Beginnings of variables that say what a program talks to. The shell that starts the stack may have some for another place."""


def main(name: str) -> None:
    """Become the part; does not return."""
    stack = load()
    parts = services(stack, ensure(stack.folder))
    part = parts[name]
    end_leftovers(stack, name)
    for other in part.needs:
        while not health.answers(parts[other].health):
            time.sleep(0.3)
    if part.folder:
        os.chdir(part.folder)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    os.execvpe(part.command[0], list(part.command), {**inherited, **part.env, MARK: mark(stack, name)})


def mark(stack: Stack, name: str) -> str:
    """What tells a part's processes from all others of the machine."""
    return f"{stack.folder}:{name}"


def processes(stack: Stack, name: str) -> list[psutil.Process]:
    """All processes of a part that live, its children and orphans among them.

    Some of Ray's write their name over their environment, and with it over the mark: those who started them have it.
    """
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == mark(stack, name):
                found |= {one.pid: one for one in (process, *process.children(recursive=True))}
        except psutil.Error:  # it has just ended, or is somebody else's
            continue
    found.pop(os.getpid(), None)
    return list(found.values())


def resident(processes: Iterable[psutil.Process]) -> int:
    """Resident memory of processes, bytes; of one that has ended meanwhile none."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def end_leftovers(stack: Stack, name: str) -> None:
    """End all processes of a part."""
    end(processes(stack, name))


def end(left: list[psutil.Process]) -> None:
    """End processes: asked first, killed after a grace."""
    for process in left:
        with suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=GRACE_S)[1]:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=GRACE_S)


if __name__ == "__main__":
    main(sys.argv[1])
