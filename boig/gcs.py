"""One question to the head of a Ray cluster, its Global Control Service: can it be used from here?

`ray.init` begins with the same one, but asks an address where nothing is for a quarter of an hour, with a warning each time, says no word
of a wrong token, and aborts the process where this machine is no node of the cluster.

`python -m boig.gcs` says in a line, and by its exit code, why the cluster that `RAY_ADDRESS` names cannot be used.
"""

import os
import sys
from pathlib import Path

import grpc
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.exceptions import AuthenticationError, RayError
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

COMES_BACK_S = 20.0
"""For the first answer of a named cluster: what keeps a head alive has it back by then."""

TOKEN_MEND = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's; `. .stack/env` has the local stack's"


def look(address: str) -> None:
    """Ask a cluster for its nodes, and whether this machine is one.

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
        raise ConnectionError(no_answer(address, error.details() or error.code().name)) from None
    except AuthenticationError:  # there is none to send
        raise ConnectionError(f"RAY_ADDRESS={address}: RAY_AUTH_MODE=token, but no token is set; {TOKEN_MEND}") from None
    except (ConnectionError, ValueError, RayError) as error:
        raise ConnectionError(no_answer(address, str(error))) from None
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


def no_answer(address: str, told: str) -> str:
    """The line about an address where no cluster answers, with the first of what was told."""
    reason = told.strip().partition("\n")[0].rpartition("last error: ")[2]
    return f"RAY_ADDRESS={address}: no Ray cluster answers ({reason}); start it, or unset RAY_ADDRESS for a local one"


if __name__ == "__main__":
    try:
        look(os.environ["RAY_ADDRESS"])
    except ConnectionError as error:
        sys.exit(str(error))
