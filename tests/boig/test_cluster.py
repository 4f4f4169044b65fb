"""The door to Ray, where it does not open."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest
import ray
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoReply
from tenacity import stop_after_delay

from boig import cluster, gcs
from tests.conftest import free_port


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)


def starting(monkeypatch: pytest.MonkeyPatch, *errors: str) -> list[str]:
    """Have Ray fail to start with these errors, one after the other, and then start; what is left of them."""
    left = list(errors)

    def init(**_: object) -> None:
        if left:
            raise Exception(left.pop(0))

    monkeypatch.setattr(ray, "init", init)
    return left


SLOW = "The current node timed out during startup. This could happen because"


def test_a_slow_start_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    left = starting(monkeypatch, *[SLOW] * (cluster.STARTS - 1))
    cluster.connect()
    assert not left


def test_a_machine_that_is_too_busy_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    left = starting(monkeypatch, *[SLOW] * 9)
    with pytest.raises(ConnectionError, match=r"5 tries of half a minute; end what keeps it busy") as raised:
        cluster.connect()
    assert "\n" not in str(raised.value)
    assert len(left) == 9 - cluster.STARTS


def test_another_error_is_itself_and_at_once(monkeypatch: pytest.MonkeyPatch):
    left = starting(monkeypatch, "no space left", SLOW)
    with pytest.raises(Exception, match="no space left"):
        cluster.connect()
    assert left == [SLOW]


@contextmanager
def head(address: str, answer: Callable[[grpc.ServicerContext], list[str]]) -> Iterator[None]:
    """What answers as a head's GCS does: with the raylets' sockets of its nodes."""

    def nodes(_: bytes, context: grpc.ServicerContext) -> bytes:
        return GetAllNodeInfoReply(node_info_list=[GcsNodeInfo(raylet_socket_name=name) for name in answer(context)]).SerializeToString()

    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {"GetAllNodeInfo": grpc.unary_unary_rpc_method_handler(nodes)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", handlers),))
    server.add_insecure_port(address)
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


@pytest.fixture
def raylet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The socket of a node on this machine."""
    monkeypatch.chdir(tmp_path)  # a socket's name may have a hundred letters
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("raylet")
        yield "raylet"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where nothing is yet."""
    monkeypatch.setattr(gcs._nodes.retry, "stop", stop_after_delay(1))
    return f"{ray.util.get_node_ip_address()}:{free_port()}"  # Ray puts it in the loopback's place


def refused(address: str) -> str:
    """What it says to who would connect, before Ray is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", lambda **_: pytest.fail("Ray was asked"))
        with pytest.raises(ConnectionError) as raised:
            cluster.connect(address)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"RAY_ADDRESS={address}: ")
    return str(raised.value)


def test_nothing_listens(address: str):
    assert "no Ray cluster answers" in (told := refused(address))
    assert "Connection refused" in told
    assert "start it, or unset RAY_ADDRESS" in told


def test_something_else_listens(address: str):
    with HTTPServer((address.partition(":")[0], int(address.partition(":")[2])), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert "no Ray cluster answers" in refused(address)
        finally:
            server.shutdown()


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:8265", "local", "127.0.0.1"])
def test_no_address_of_a_cluster(address: str):
    assert "no Ray cluster answers" in refused(address)


def test_ray_client_is_not_for_stages():
    assert "run on a node of the cluster" in refused("ray://127.0.0.1:10001")


def test_a_wrong_token(address: str):
    with head(address, lambda context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")):
        assert "refuses our token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN" in refused(address)


def test_a_machine_that_is_no_node_of_the_cluster(address: str, tmp_path: Path):
    """Ray aborts the process there."""
    with head(address, lambda _: [str(tmp_path / "elsewhere")]):
        assert (
            f"this machine is no node of that cluster; run on one of its nodes, or make this one a node (`ray start --address={address}"
            in (refused(address))
        )


def test_a_head_that_is_on_its_way_is_waited_for(address: str, raylet: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gcs._nodes.retry, "stop", stop_after_delay(30))
    asked: list[str] = []
    monkeypatch.setattr(ray, "init", lambda address, **_: asked.append(address))
    answers = [[], [], ["elsewhere", raylet]]  # it has no nodes at first
    with ExitStack() as started:
        threading.Timer(1, lambda: started.enter_context(head(address, lambda _: answers.pop(0)))).start()
        cluster.connect(address)
    assert asked == [address]
    assert not answers
