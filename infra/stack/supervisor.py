"""The one process that keeps the parts alive: supervisord, told over a socket in the stack's folder that only its owner may use."""

import subprocess
import sys
import time
import xmlrpc.client
from pathlib import Path
from typing import cast

import psutil
from supervisor.xmlrpc import SupervisorTransport

from infra.stack import health
from infra.stack.services import Service
from infra.stack.settings import Stack

START_S = 15.0
"""Until supervisord itself answers."""
RETRIES = 1_000_000
"""Starts of a part before it is given up: a part that cannot start is told by `up` and by the doctor, and tried on."""
LOG_BYTES = 10 * 2**20
LOG_FILES = 3


def start(stack: Stack, parts: dict[str, Service]) -> bool:
    """Start supervisord and all parts; whether it was not running before.

    Raises:
        ConnectionError: it does not come up.
    """
    if running(stack):
        return False
    configuration = stack.folder / "run" / "supervisord.conf"
    configuration.write_text(_configuration(stack, parts))
    log = stack.logs / "supervisord.log"
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)], capture_output=True, text=True, check=False
    )
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if running(stack):
            return True
        time.sleep(0.1)
    raise ConnectionError(f"supervisord did not start: {(done.stderr or done.stdout).strip()[-300:] or f'see {log}'}")


def running(stack: Stack) -> bool:
    """Whether the stack's supervisord answers."""
    try:
        with _server(stack) as server:
            return bool(server.supervisor.getState())
    except (OSError, xmlrpc.client.Error):
        return False


def states(stack: Stack) -> dict[str, dict]:
    """What supervisord says of each part: `statename`, `pid`, `start` (Unix seconds), `description`."""
    with _server(stack) as server:
        told = cast(list[dict], server.supervisor.getAllProcessInfo())
    return {part["name"]: part for part in told}


def own(stack: Stack) -> list[psutil.Process]:
    """What the stack takes beside its parts: supervisord, and the listener that watches them."""
    with _server(stack) as server:
        pids = (cast(int, server.supervisor.getPID()), states(stack)["watch"]["pid"])
    return [psutil.Process(pid) for pid in pids if pid]  # the listener has none until it runs


def is_well(part: Service, state: dict, timeout_s: float = 2.0) -> bool:
    """Whether a part runs and answers in time.

    Args:
        part: as the stack has it.
        state: what `states` says of it.
        timeout_s: for the answer.
    """
    return state.get("statename") == "RUNNING" and health.answers(part.health, timeout_s)


def stop(stack: Stack) -> bool:
    """Stop all parts, then supervisord; whether it was running. The last part started is the first to be stopped."""
    if not running(stack):
        return False
    with _server(stack) as server:
        server.supervisor.stopAllProcesses()
        server.supervisor.shutdown()
    end = time.monotonic() + START_S
    while running(stack) and time.monotonic() < end:
        time.sleep(0.1)
    return True


def _server(stack: Stack) -> xmlrpc.client.ServerProxy:
    return xmlrpc.client.ServerProxy("http://localhost", transport=SupervisorTransport(serverurl=f"unix://{_socket(stack)}"))


def _socket(stack: Stack) -> Path:
    return stack.folder / "run" / "supervisor.sock"


def _configuration(stack: Stack, parts: dict[str, Service]) -> str:
    run, logs = stack.folder / "run", stack.logs
    head = f"""[unix_http_server]
file={_socket(stack)}
chmod=0700

[supervisord]
logfile={logs / "supervisord.log"}
logfile_maxbytes={LOG_BYTES}
logfile_backups={LOG_FILES}
pidfile={run / "supervisord.pid"}
childlogdir={logs}
umask=077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    watch = f"""
[eventlistener:watch]
command={sys.executable} -m infra.stack.watch
directory={Path.cwd()}
events=TICK_5
autorestart=true
startretries={RETRIES}
stdout_logfile=NONE
stderr_logfile={logs / "watch.log"}
stderr_logfile_maxbytes={LOG_BYTES}
stderr_logfile_backups={LOG_FILES}
"""
    return head + watch + "".join(_program(stack, name, number) for number, name in enumerate(parts))


def _program(stack: Stack, name: str, number: int) -> str:
    return f"""
[program:{name}]
command={sys.executable} -m infra.stack.launch {name}
directory={Path.cwd()}
priority={number}
autorestart=true
startsecs=1
startretries={RETRIES}
stopwaitsecs=20
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={stack.logs / f"{name}.log"}
stdout_logfile_maxbytes={LOG_BYTES}
stdout_logfile_backups={LOG_FILES}
"""
