"""A Ray cluster of several nodes on this machine, of which one can be killed."""

import ctypes
import multiprocessing
import os
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster
from tenacity import retry, retry_if_exception_message, stop_after_attempt

from boig.cluster import OBJECT_STORE_BYTES, STARTS
from flows.services import end_tree

BUSY_S = 300
"""A stage is at work on some node after some seconds."""
IDLE = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::_StatsActor", "ray::AutoscalingRequester")
"""Starts of the names of processes that do nothing which would be missed."""


class Nodes:
    """A head that computes nothing, where drivers are, and nodes that compute, each with its own raylet, object store and workers.

    Only who has the token of `RAY_AUTH_TOKEN` may use it. A process of its own holds it: one that has used Ray without a token, as other
    tests here do, can neither start nor ask a cluster that wants one.
    """

    def __init__(self, count: int, cpus: int, hidden: Path | None = None):
        """Start them.

        Args:
            count: of the nodes that compute.
            cpus: of each of them.
            hidden: a folder that they see empty, as if it lay on the head's own disk. Wants the right to mount.
        """
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_start, initargs=(count, cpus, hidden))
        self.env: dict[str, str] = self._process.submit(_do, "env").result()

    def kill_a_busy_one(self) -> bool:
        """`kill -9` of a node's processes, once something works there; whether something did."""
        return self._process.submit(_do, "kill_a_busy_one").result()

    def mend(self) -> None:
        """A new node for the one that was killed."""
        self._process.submit(_do, "mend").result()

    def sees(self, path: Path) -> bool:
        """Whether nodes have a file."""
        return self._process.submit(os.path.exists, path).result()

    def close(self) -> None:
        """End all nodes."""
        self._process.submit(_do, "close").result()
        self._process.shutdown()


def can_hide() -> bool:
    """Whether this machine lets us give processes mounts of their own."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def _hide(folder: Path) -> None:
    clone_newns = 0x00020000
    if ctypes.CDLL(None, use_errno=True).unshare(clone_newns):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=True)


def _end_all_but(kept: set[psutil.Process]) -> None:
    for child in set(psutil.Process().children()) - kept:
        end_tree(child.pid)


_held: list["_Nodes"] = []


def _start(count: int, cpus: int, hidden: Path | None) -> None:
    _held.append(_Nodes(count, cpus, hidden))


def _do(method: str):
    return getattr(_held[0], method)()


class _Nodes:
    def __init__(self, count: int, cpus: int, hidden: Path | None):
        self._cpus = cpus
        self._cluster = Cluster()
        self._add(cpus=0)
        if hidden:
            _hide(hidden)  # from this process and those that it starts from now on
        self._nodes = [self._add(cpus) for _ in range(count)]
        self._cluster.wait_for_nodes(BUSY_S)

    def env(self) -> dict[str, str]:
        return {"RAY_ADDRESS": self._cluster.address, **{name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}}

    def kill_a_busy_one(self) -> bool:
        end = time.monotonic() + BUSY_S
        while time.monotonic() < end:
            for node in self._nodes:
                if self._works(node):
                    self._cluster.remove_node(node, allow_graceful=False)
                    self._nodes.remove(node)
                    return True
            time.sleep(0.1)
        return False

    def mend(self) -> None:
        self._nodes.append(self._add(self._cpus))
        self._cluster.wait_for_nodes(BUSY_S)

    def close(self) -> None:
        self._cluster.shutdown()

    @retry(retry=retry_if_exception_message(match=".*timed out during startup"), stop=stop_after_attempt(STARTS))
    def _add(self, cpus: int):
        """A node; the first is the head. Ray gives it a fixed half minute to come up, which a busy machine may need twice."""
        before = set(psutil.Process().children())
        with ExitStack() as unless_it_comes_up:
            unless_it_comes_up.callback(_end_all_but, before)
            node = self._cluster.add_node(wait=False, num_cpus=cpus, object_store_memory=OBJECT_STORE_BYTES)
            unless_it_comes_up.pop_all()
        return node

    def _works(self, node) -> bool:
        """Whether a worker of the node has used a second of a core for the code it was given."""
        (raylet,) = node.all_processes["raylet"]
        for process in psutil.Process(raylet.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                name = (process.cmdline() or [""])[0]
                if name.startswith("ray::") and not name.startswith(IDLE) and sum(process.cpu_times()[:2]) > 1:
                    return True
        return False
