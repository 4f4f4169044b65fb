"""The only door to Ray: the cluster that `RAY_ADDRESS` names, or a small local one.

`python -m boig.cluster` says in a line, and by its exit code, why the one that `RAY_ADDRESS` names cannot be used from here.
"""

import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.exceptions import AuthenticationError, RayError
from tenacity import (
    RetryError,
    retry,
    retry_if_exception,
    retry_if_exception_message,
    stop_after_attempt,
    stop_after_delay,
    wait_fixed,
)

from boig.quiet import hush

OBJECT_STORE_BYTES = 512 * 2**20
"""Of a local Ray. The default would take 30 % of the memory; batches of pictures need far less."""
SPARE_CPUS = 2
"""Slots beyond the real cores, for actors that wait more than they compute: BoigSD's ranks wait for the reward's, and those for them."""

LAST_LINES_S = 0.1
"""What a worker prints is on its way to this process for as long; on a busy machine longer: its last lines are then in Ray's own logs."""

STARTS = 5
"""Of a local Ray, before it is given up."""

COMES_BACK_S = 20.0
"""For the first answer of a named cluster: what keeps a head alive has it back by then."""

TOKEN_MEND = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's; `. .stack/env` has the local stack's"


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
        look(address)
        try:
            with _own_sigterm():
                ray.init(address=address, logging_level="ERROR", log_to_driver=True)
        except (ConnectionError, TimeoutError, ValueError, RuntimeError, RayError) as error:
            raise ConnectionError(_no_answer(address, str(error))) from error
        return
    try:
        _start_local()
    except RetryError:
        raise ConnectionError(
            f"Ray has not started on this machine in {STARTS} tries of half a minute; end what keeps it busy, and try again"
        ) from None


def look(address: str) -> None:
    """Ask a cluster for its nodes, and whether this machine is one.

    `ray.init` begins with the same question, but asks for a quarter of an hour with a warning each time, and aborts the process where no
    node is here.

    Raises:
        ConnectionError: nothing answers while a head could come back, it is no Ray, it refuses our token, or it has no node here.
    """
    if address.startswith("ray://"):
        raise ConnectionError(f"RAY_ADDRESS={address}: stages are no Ray clients; run on a node of the cluster, with host:port of its GCS")
    try:
        where = canonicalize_bootstrap_address(address)  # Ray takes an outer address for the loopback where clusters are allowed
        if where is None:
            raise ConnectionError("none runs on this machine")
        with init_grpc_channel(where, [("grpc.enable_http_proxy", 0)]) as channel:
            nodes = _nodes(channel)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise ConnectionError(f"RAY_ADDRESS={address}: the cluster refuses our token; {TOKEN_MEND}") from None
        raise ConnectionError(_no_answer(address, error.details() or error.code().name)) from None
    except AuthenticationError:  # there is none to send
        raise ConnectionError(f"RAY_ADDRESS={address}: RAY_AUTH_MODE=token, but no token is set; {TOKEN_MEND}") from None
    except (ConnectionError, ValueError, RayError) as error:
        raise ConnectionError(_no_answer(address, str(error))) from None
    if not any(Path(node.raylet_socket_name).is_socket() for node in nodes):
        mend = f"run on one of its nodes, or make this one a node (`ray start --address={address} --num-cpus=0`)"
        raise ConnectionError(f"RAY_ADDRESS={address}: this machine is no node of that cluster; {mend}")


def _is_away(error: BaseException) -> bool:
    return isinstance(error, ConnectionError) or (isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE)


@retry(retry=retry_if_exception(_is_away), stop=stop_after_delay(COMES_BACK_S), wait=wait_fixed(0.5), reraise=True)
def _nodes(channel: grpc.Channel) -> list[GcsNodeInfo]:
    """The nodes of a cluster that are alive.

    Raises:
        grpc.RpcError: of the last try.
        ConnectionError: it has none; a head that starts has none for a moment.
    """
    asked = GetAllNodeInfoRequest(state_filter=GcsNodeInfo.ALIVE)
    nodes = list(NodeInfoGcsServiceStub(channel).GetAllNodeInfo(asked, timeout=COMES_BACK_S).node_info_list)
    if not nodes:
        raise ConnectionError("it has no nodes")
    return nodes


def _no_answer(address: str, told: str) -> str:
    reason = told.strip().partition("\n")[0].rpartition("last error: ")[2]
    return f"RAY_ADDRESS={address}: no Ray cluster answers ({reason}); start it, or unset RAY_ADDRESS for a local one"


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
        time.sleep(LAST_LINES_S)
        ray.shutdown()


def local_cpus() -> int:
    """CPU slots of a local Ray: the cores this process may use, and the spare ones."""
    return len(os.sched_getaffinity(0)) + SPARE_CPUS


def job_id() -> str:
    """Ray's id of this process's job, or nothing when it is not connected."""
    return ray.get_runtime_context().get_job_id() if ray.is_initialized() else ""


if __name__ == "__main__":
    try:
        look(os.environ["RAY_ADDRESS"])
    except ConnectionError as error:
        sys.exit(str(error))
