"""The only door to Ray: the cluster that `RAY_ADDRESS` names, or a small local one."""

import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError
from tenacity import RetryError, retry, retry_if_exception_message, stop_after_attempt

from boig.quiet import hush

OBJECT_STORE_BYTES = 512 * 2**20
"""Of a local Ray. The default would take 30 % of the memory; batches of pictures need far less."""
SPARE_CPUS = 2
"""Slots beyond the real cores, for actors that wait more than they compute: BoigSD's ranks wait for the reward's, and those for them."""

LAST_LINES_S = 0.1
"""What a worker prints is on its way to this process for as long; on a busy machine longer: its last lines are then in Ray's own logs."""
_heard = 0.0
"""When something last came from a worker, by the monotonic clock."""

STARTS = 5
"""Of a local Ray, before it is given up."""


def connect(address: str | None = None) -> None:
    """Connect this process to Ray, once; later calls do nothing.

    Args:
        address: of a running cluster of which this machine is a node (`host:port` of its GCS, or `auto`); None takes `RAY_ADDRESS`, else
            starts a local one.

    Raises:
        ConnectionError: the named cluster cannot be used from here, or the local one does not start.
    """
    if ray.is_initialized():
        return
    hush()
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        from boig import gcs  # workers, which import this module too, need none of what it imports

        gcs.look(address)
        try:
            with _own_sigterm():
                ray.init(address=address, logging_level="ERROR", log_to_driver=True)
        except (ConnectionError, TimeoutError, ValueError, RuntimeError, RayError) as error:
            raise ConnectionError(gcs.no_answer(address, str(error))) from error
        return
    try:
        _start_local()
    except RetryError:
        raise ConnectionError(
            f"Ray has not started on this machine in {STARTS} tries of half a minute; end what keeps it busy, and try again"
        ) from None


@retry(retry=retry_if_exception_message(match=".*timed out during startup"), stop=stop_after_attempt(STARTS))
def _start_local() -> None:
    """A small Ray on this machine. Its daemons have a fixed half minute to come up, which a busy machine may need twice."""
    ray.shutdown()
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray writes one into the home folder
    with _own_sigterm():
        ray.init(
            address="local",
            num_cpus=local_cpus(),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            logging_level="ERROR",
            log_to_driver=True,
            _node_ip_address="127.0.0.1",  # nothing of it is for other machines
        )


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what this process does at SIGTERM: Ray would print the stack of its own library, as after a crash, and exit."""
    if threading.current_thread() is not threading.main_thread():  # only there it can be set, by Ray too
        yield
        return
    own = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, own)


def disconnect() -> None:
    """Leave Ray; a local one ends. At the end of a process Ray would do so itself, but waits longer for its workers' last lines."""
    if ray.is_initialized():
        time.sleep(max(0.0, _heard + LAST_LINES_S - time.monotonic()))
        ray.shutdown()


def heard() -> None:
    """Something came from a worker just now: what it has printed before may still be on its way."""
    global _heard
    _heard = time.monotonic()


def local_cpus() -> int:
    """CPU slots of a local Ray: the cores this process may use, and the spare ones."""
    return len(os.sched_getaffinity(0)) + SPARE_CPUS


def job_id() -> str:
    """Ray's id of this process's job, or nothing when it is not connected."""
    return ray.get_runtime_context().get_job_id() if ray.is_initialized() else ""
