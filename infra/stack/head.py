"""`python -m infra.stack.head <arguments of ray start>`: a Ray head that lives as long as this process and each of its daemons.

What `ray start --block` is, without the 200 MB that its command line keeps while it waits.
"""

import ctypes
import os
import signal
import subprocess
import sys

import psutil

from infra.stack import launch

PR_SET_CHILD_SUBREAPER = 36
"""Of Linux's prctl: daemons whose parent ends become this process's children."""


def main(arguments: list[str]) -> int:
    """Start it, wait until a daemon ends or a signal comes, end the rest; the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    started = subprocess.run([sys.executable, "-m", "ray.scripts.scripts", "start", "--head", *arguments], check=False)
    if started.returncode:
        return started.returncode
    daemons = {process.pid: process.name() for process in psutil.Process().children()}
    try:
        while (ended := os.wait()[0]) not in daemons:
            pass
        print(f"ray: its {daemons[ended]} has ended", file=sys.stderr)
    except KeyboardInterrupt:
        pass
    finally:
        launch.end(psutil.Process().children(recursive=True))
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
