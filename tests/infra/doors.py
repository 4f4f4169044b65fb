"""What a stranger may try at the stack's ports: HTTP, gRPC with and without TLS, and the words that Prefect's worker knows.

Known and not tried: `StartSync` without a `node_id` aborts the GCS of Ray 2.60 before it looks at the token (`ray_syncer_server.cc`). It
writes nothing, and no setting mends it; what a head that lost its GCS does is tested in `test_stack.py`.
"""

import re
import socket
import ssl
from collections import defaultdict
from pathlib import Path

import grpc
import pytest
import ray.core.generated

from infra.stack.settings import HOST, Stack
from tests.infra.stack import http, listening

WRITES = (
    ("PUT", "/boig/intruder"), ("POST", "/intruder"), ("POST", "/submit"), ("GET", "/dir/assign"), ("GET", "/vol/grow?count=1"),
    ("POST", "/api/jobs/"), ("POST", "/api/flows/"), ("POST", "/api/admin/database/clear"), ("POST", "/api/2.0/mlflow/runs/create"),
    ("POST", "/api/2.0/mlflow/experiments/create"), ("PUT", "/api/2.0/mlflow-artifacts/artifacts/x"),
    ("DELETE", "/api/2.0/mlflow/users/delete"),
    ("POST", "/api/serve/applications/"), ("PUT", "/api/serve/applications/"), ("POST", "/api/job_agent/jobs/"),
    ("DELETE", "/api/serve/applications/"), ("PUT", "/api/packages/gcs/intruder.zip"), ("POST", "/report_events"),
    ("POST", "/get_or_create_runtime_env"), ("POST", "/delete_runtime_env_if_possible"),
)  # fmt: skip
STRANGERS = ((), (("authorization", "Bearer " + "0" * 64),))
"""No token, and a wrong one."""
NODE = (("node_id", "0" * 56),)
CERTIFICATE, TOKEN, ATTEMPT = "wants a certificate", "wants Ray's token", "wants the token of a flow run"


def refusals(stack: Stack, rounds: int = 5) -> dict[int, str]:
    """How each port that does not speak HTTP keeps a stranger out, found in a round in which no port was opened or closed.

    Beside an actor Ray may start a worker that nobody needs: it listens for a second, and whoever comes later finds nobody there.
    """
    for _ in range(rounds):
        before = listening(stack)
        prefect = {port for _, port in listening(stack, "worker")}
        silent = {port for _, port in before if not http(port, "GET", "/")}
        found = {port: refusal(port, port in prefect) for port in silent}
        if listening(stack) == before:
            return found
    pytest.fail(f"in each of {rounds} rounds a port was opened or closed; the last one found {found}")


def refusal(port: int, prefect: bool) -> str:
    """How a port that does not speak HTTP keeps a stranger out.

    Args:
        port: on the loopback.
        prefect: whether Prefect's worker has opened it: it listens for the flow runs that it has started, each of which has a token.

    Returns:
        One of the ways above; else what was let in, or how it answered.
    """
    alert = tls_alert(port)
    if alert == "TLSV13_ALERT_CERTIFICATE_REQUIRED":
        return CERTIFICATE
    if prefect:
        return ATTEMPT if is_sent_away(port) else "a stranger may speak for a flow run"
    told = {str(code): sorted(calls) for login in STRANGERS for code, calls in ray_answers(port, login).items()}
    allowed = {str(code) for code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED)}
    return TOKEN if set(told) == allowed else str({code: calls for code, calls in told.items() if code not in allowed} or told)


def ray_calls() -> set[str]:
    """Every method of Ray's services: those it has Python stubs for, and those of services that it has in C++ alone."""
    texts = [path.read_text() for path in Path(ray.core.generated.__path__[0]).glob("*_pb2_grpc.py")]
    stubs = {call for text in texts for call in re.findall(r"'/(ray\.[\w.]+/\w+)'", text)}
    return (
        stubs
        | {f"ray.rpc.ObjectManagerService/{name}" for name in ("Push", "Pull", "FreeObjects")}
        | {"ray.rpc.syncer.RaySyncer/StartSync"}
    )


def ray_answers(port: int, login: tuple) -> dict[grpc.StatusCode, set[str]]:
    """What a port answers to all of Ray's methods, by status. Refused is whoever has no token, whatever he asks: requests are empty."""
    found = defaultdict(set)
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        for call in ray_calls():
            try:
                channel.unary_unary(f"/{call}")(b"", timeout=20, metadata=(*login, *NODE))
                found[grpc.StatusCode.OK].add(call)
            except grpc.RpcError as error:
                found[error.code()].add(call)
    return found


def seaweedfs_answers(port: int, keys: Path, call: str, request: bytes) -> list[grpc.StatusCode]:
    """What a port answers to a call without TLS, with TLS alone, and with the certificate that is in a folder."""
    ca, key, certificate = [(keys / f"{name}.pem").read_bytes() for name in ("ca", "key", "cert")]
    found = []
    for shown in (None, grpc.ssl_channel_credentials(ca), grpc.ssl_channel_credentials(ca, key, certificate)):
        address = f"{HOST}:{port}"
        with grpc.secure_channel(address, shown) if shown else grpc.insecure_channel(address) as channel:
            try:
                channel.unary_unary(f"/{call}")(request, timeout=20)
                found.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                found.append(error.code())
    return found


def tls_alert(port: int) -> str:
    """With what TLS ends that shows no certificate; empty where it goes on."""
    strange = ssl.create_default_context()
    strange.check_hostname, strange.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((HOST, port), timeout=10) as plain, strange.wrap_socket(plain) as channel:
            channel.sendall(b"x")
            channel.recv(1)  # in TLS 1.3 the server looks at certificates after the client's handshake has ended
    except ssl.SSLError as error:
        return error.reason or str(error)
    except OSError as error:
        return str(error)
    return ""


def is_sent_away(port: int) -> bool:
    """Whether a peer with a made-up token gets no answer to the greeting that each flow run's process begins with."""
    with socket.create_connection((HOST, port), timeout=10) as peer:
        peer.sendall(b"0" * 32 + b"\n\x00PF\x02\x01")
        try:
            return not peer.recv(16)
        except ConnectionResetError:
            return True
