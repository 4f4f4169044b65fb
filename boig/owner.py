"""Which process a run belongs to, and whether it has ended: who is killed cannot end its run."""

import socket

import psutil

TAG = "boig.process"
"""Of a run: machine, number and start of its process."""
TOLERANCE_S = 60.0
"""Starts are told by the clock, which may be set meanwhile."""


def me() -> str:
    """This process."""
    own = psutil.Process()
    return f"{socket.gethostname()}/{own.pid}/{own.create_time():.0f}"


def gone(owner: str) -> bool:
    """Whether it was a process of this machine and has ended; of another machine's, and of what is no owner, that is not known."""
    host, _, process = owner.partition("/")
    pid, _, started = process.partition("/")
    if host != socket.gethostname() or not (pid.isdecimal() and started.isdecimal()):
        return False
    try:
        return abs(psutil.Process(int(pid)).create_time() - int(started)) > TOLERANCE_S
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:  # it is somebody else's, and there
        return False
