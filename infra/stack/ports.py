"""Who listens on the ports that the stack wants."""

from collections.abc import Collection

import psutil

from infra.stack.settings import Stack

MEND = "end it, or name other ports in infra/stack.yaml"


def taken(stack: Stack, own: Collection[int] = ()) -> str:
    """Ports of the stack on which somebody listens, each with who; empty where all are free.

    Args:
        stack: its settings.
        own: pids that do not count.
    """
    owners = {c.laddr.port: c.pid for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr and c.pid not in own}
    return ", ".join(f"{port} ({name}) by {_owner(owners[port])}" for name, port in stack.ports.all().items() if port in owners)


def _owner(pid: int | None) -> str:
    try:
        return f"pid {pid} {psutil.Process(pid).name()}" if pid else "another user's process"
    except psutil.Error:
        return f"pid {pid}"
