"""The S3 server of the compose file, for real."""

import random
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import grpc
import psutil
import pytest
from botocore.config import Config

from boig.store import Store, ensure_buckets, publish
from infra.published import download
from infra.stack import keys as stack_keys
from infra.stack import settings, weed
from tests.conftest import free_port, wait_for
from tests.infra.compose_file import SERVICES, keys_of
from tests.infra.stack import allowed, http


@pytest.fixture(scope="module")
def server(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """The S3 server of the compose file on this machine: inside on 127.0.0.1, S3 on 127.0.0.2."""
    folder, place = tmp_path_factory.mktemp("s3"), made / "secrets"
    security = (place / "security.toml").read_text().replace("/run/secrets", str(place / "tls"))
    stack_keys.write_private(folder / "security.toml", security)
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    moved = {
        "weed": weed.program()[0],
        "-dir=/data": f"-dir={folder}",
        "-s3.ip.bind=0.0.0.0": "-s3.ip.bind=127.0.0.2",
        "-s3.port=8333": f"-s3.port={ports['s3']}",
        "-s3.config=/run/secrets/s3.json": f"-s3.config={place / 's3.json'}",
        "-volume.minFreeSpace=5GiB": "-volume.minFreeSpace=1",
    }
    assert set(moved) <= set(SERVICES["s3"].command)
    command = [moved.get(word, word) for word in SERVICES["s3"].command]
    command += [f"-{name}.port={port}" for name, port in ports.items() if name != "s3"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={}, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.2:{ports['s3']}/healthz", process, folder / "log")
            yield {"address": f"http://127.0.0.2:{ports['s3']}", "ports": ports, "pid": process.pid}
        finally:
            process.kill()  # asked, it takes half a minute
            process.wait()


def client(address: str, keys: stack_keys.Keys, component: str):
    return boto3.Session(*keys.s3[component], region_name="us-east-1").client("s3", endpoint_url=address)


@pytest.mark.slow
class TestS3:
    def test_inside_stays_inside(self, server: dict) -> None:
        listens = {c.laddr for c in psutil.Process(server["pid"]).net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        s3 = server["ports"]["s3"]
        assert {laddr.port for laddr in listens if laddr.ip != "127.0.0.1"} == {s3, s3 + settings.TWIN}

    def test_its_grpc_wants_a_certificate(self, server: dict) -> None:
        for port in (server["ports"]["s3"] + settings.TWIN, server["ports"]["filer"] + settings.TWIN):
            host = "127.0.0.2" if port == server["ports"]["s3"] + settings.TWIN else "127.0.0.1"
            with grpc.insecure_channel(f"{host}:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary("/filer_pb.SeaweedFiler/GetFilerConfiguration")(b"", timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

    def test_nobody_writes_without_a_key(self, server: dict) -> None:
        told = {port: [http(port, method, "/boig/x") for method in ("PUT", "POST", "DELETE")] for port in server["ports"].values()}
        assert not [(port, status) for port, statuses in told.items() for status in statuses if 200 <= status < 300]
        assert http_at(server["address"] + "/boig/x", "PUT", {}) == 403

    def test_components_may_do_their_own(self, server: dict, made: Path) -> None:
        keys, _ = keys_of(made)
        ensure_buckets(server["address"], *keys.s3["admin"], settings.load(settings.DEFAULT).buckets.model_dump().values())
        asked = {"pipeline": "boig", "mlflow": "mlflow", "reader": "boig"}
        may = {name: allowed(lambda n=name, b=bucket: client(server["address"], keys, n).put_object(Bucket=b, Key="x", Body=b"x"))
               for name, bucket in asked.items()}  # fmt: skip
        assert may == {"pipeline": True, "mlflow": True, "reader": False}

    def test_the_policies_are_enough_for_parts_and_for_who_brings_a_run_back(
        self, server: dict, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys, _ = keys_of(made)
        ensure_buckets(server["address"], *keys.s3["admin"], ["boig"])
        environment = {"AWS_ENDPOINT_URL": server["address"], "AWS_DEFAULT_REGION": "us-east-1", "BOIG_S3_URL": "s3://boig"}

        def become(component: str) -> Store:
            key, secret = keys.s3[component]
            for name, value in (environment | {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}).items():
                monkeypatch.setenv(name, value)
            return Store.from_url("s3://boig")

        (tmp_path / "run" / "reports").mkdir(parents=True)
        large = tmp_path / "run" / "reports" / "large"
        large.write_bytes(random.Random(0).randbytes(20_000_000))
        become("ray_worker").send(large, "handover/large")
        become("pipeline")
        address = publish(tmp_path / "run", "default")
        reader = become("reader")
        assert download(address, tmp_path / "back") == 1
        assert (tmp_path / "back" / "reports" / "large").read_bytes() == large.read_bytes()
        with pytest.raises(ConnectionError, match=r"cannot upload to s3://boig/x: AccessDenied.*; these keys may not do that"):
            reader.send(large, "x")

    def test_signatures_for_the_public_name_hold_behind_the_proxy(self, server: dict, made: Path) -> None:
        """What Caddy hands on: the client's Host, and where the request came from."""
        keys, _ = keys_of(made)
        admin = client(server["address"], keys, "admin")
        admin.put_object(Bucket="boig", Key="seen", Body=b"x")
        public = boto3.Session(*keys.s3["pipeline"], region_name="us-east-1").client(
            "s3", endpoint_url="https://s3.example.org", config=Config(signature_version="s3v4", s3={"addressing_style": "path"})
        )
        signed = public.generate_presigned_url("get_object", Params={"Bucket": "boig", "Key": "seen"})
        headers = {
            "Host": "s3.example.org",
            "X-Forwarded-For": "203.0.113.7",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "s3.example.org",
        }
        here = signed.replace("https://s3.example.org", server["address"])
        assert http_at(here, "GET", headers) == 200
        assert http_at(here, "GET", headers | {"Host": "s3.example.com", "X-Forwarded-Host": "s3.example.com"}) == 403


def http_at(address: str, method: str, headers: dict[str, str]) -> int:
    """Status of a request with these headers."""
    request = urllib.request.Request(address, data=b"x" if method == "PUT" else None, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
