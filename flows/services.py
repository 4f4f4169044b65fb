"""What one pipeline run starts once and all its stages share: a Prefect server, a Ray head; and a look at their memory."""

import http.client
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from flows.processes import die_with_parent

SERVER_START_S = 180
"""A Prefect server is up after half a minute on a busy machine."""
SAMPLE_S = 2.0
"""Between two looks at the memory."""


@contextmanager
def prefect_server() -> Iterator[str]:
    """A Prefect server on a free port of the loopback, with its own temporary home, for as long as the context lives; its API's address.

    It starts while the body runs: wait for it with `wait_for`.
    """
    home = tempfile.mkdtemp(prefix="boig-prefect-")
    port = free_port()
    env = os.environ | {
        "PREFECT_HOME": home,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
        "DO_NOT_TRACK": "1",
    }
    env.pop("PREFECT_API_URL", None)
    with open(Path(home) / "server.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the pipeline; the server ends after it
            preexec_fn=die_with_parent,
        )
    try:
        yield f"http://127.0.0.1:{port}/api"
    finally:
        end_tree(server.pid)
        server.wait()
        shutil.rmtree(home, ignore_errors=True)


def wait_for(api: str, timeout_s: float = SERVER_START_S) -> None:
    """Wait until a server is healthy.

    Raises:
        ConnectionError: it is not, in time.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=5):
                return
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            time.sleep(0.3)
    raise ConnectionError(f"the Prefect server at {api} was not healthy after {timeout_s:.0f} s; set PREFECT_API_URL to one that runs")


@contextmanager
def ray_head() -> Iterator[dict[str, str]]:
    """A local Ray for as long as the context lives; the environment of its clients.

    This process owns it, so it ends with this process even when killed. It listens on the loopback, and only who has the token may use it.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # before Ray is imported: it reads its mode then
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    from boig.cluster import connect

    connect()
    try:
        access = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
        yield {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, **access}
    finally:
        ray.shutdown()


class PeakMemory:
    """Watches the memory of this process and all its descendants, Ray's and Prefect's included.

    Proportional set size where the system tells it (Linux), so that shared pages count once; else resident set size.
    """

    def __init__(self, every_s: float = SAMPLE_S):
        self.peak_bytes = 0
        self._every_s, self._done = every_s, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while True:
            begun = time.perf_counter()
            self.peak_bytes = max(self.peak_bytes, sum(_bytes(process) for process in [me, *me.children(recursive=True)]))
            # The kernel walks all pages of a process to tell its share of them: so seldom that it costs a fiftieth of a core.
            if self._done.wait(max(self._every_s, 50 * (time.perf_counter() - begun))):
                return


def _bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except psutil.Error:  # it has just ended
        return 0
    return getattr(memory, "pss", 0) or memory.rss


def end_tree(pid: int, grace_s: float = 5.0) -> None:
    """End a process and all its descendants: asked first, then killed."""
    try:
        parent = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    processes = [*parent.children(recursive=True), parent]
    for process in processes:
        _signal(process.terminate)
    for process in psutil.wait_procs(processes, timeout=grace_s)[1]:
        _signal(process.kill)


def _signal(send: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        send()


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now, below those that the system gives to whoever asks for any.

    Until a server has it seconds pass, in which Ray's processes ask for many.

    Raises:
        ConnectionError: none of a hundred is free.
    """
    for port in random.SystemRandom().sample(range(20000, 30000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ConnectionError("no TCP port from 20000 to 30000 is free; end what takes them, or set PREFECT_API_URL to a server that runs")
