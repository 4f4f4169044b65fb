"""Hands on a local stack: its commands, its ports, its S3, its Prefect."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import boto3
import psutil
import yaml
from botocore.exceptions import ClientError
from pydantic import ValidationError

from infra.stack import keys, launch, services, settings, supervisor
from infra.stack.settings import Ports, Stack
from tests.conftest import free_port, given

ROOT = Path(__file__).parents[2]


BACK_S = 120
"""A part is back in a fraction of this on an idle machine; how fast is for a benchmark to say."""


def write_settings(folder: Path, **ports: int) -> Path:
    """Settings with a folder and ports of their own."""
    content = yaml.safe_load((ROOT / "infra" / "stack.yaml").read_text())
    content["folder"] = str(folder / "stack")
    while True:  # until no port is among those of Ray's workers, and none of Ray's daemons has one of another server
        content["ports"] = {name: free_port() for name in content["ports"]} | ports
        with suppress(ValidationError):
            inner = {port for name, port in Ports.model_validate(content["ports"]).all().items() if name.startswith("ray_inner")}
            if given & inner == {content["ports"]["ray_inner"]}:
                given.update(inner)
                break
    content["ray"]["dashboard"] = True  # more doors to try
    path = folder / "stack.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


ELSEWHERE = {
    "RAY_ADDRESS": "10.9.9.9:6379", "RAY_AUTH_TOKEN": "f" * 64, "AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "other",
    "AWS_SESSION_TOKEN": "other", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_API_AUTH_STRING": "other:other",
}  # fmt: skip
"""A shell that was set up for some other place: the stack is not to take anything of it."""


def run(path: Path, command: str) -> subprocess.CompletedProcess:
    """`python -m infra.stack <command>` with these settings."""
    env = os.environ | ELSEWHERE | {settings.SETTING: str(path)}
    return subprocess.run([sys.executable, "-m", "infra.stack", command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def client(stack: Stack, key: str, secret: str):
    """An S3 client of one component."""
    return boto3.Session(key, secret, region_name="us-east-1").client("s3", endpoint_url=stack.url("s3"))


def allowed(call) -> bool:
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True


def http(port: int, method: str, path: str, timeout_s: float = 60) -> int:
    """Status of a request without any key; 0 where the port does not speak HTTP."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=None if method == "GET" else b"{}",
        method=method,
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, HTTPException):  # nobody, or another protocol
        return 0


def comes_back(stack: Stack, name: str, before: int, within_s: float = BACK_S) -> None:
    """Wait until a part is well again in another process than `before`."""
    part, end = services.services(stack, keys.ensure(stack.folder))[name], time.monotonic() + within_s
    while (state := supervisor.states(stack)[name])["pid"] == before or not supervisor.is_well(part, state):
        assert time.monotonic() < end, f"{name} is not back: {state}\n{(stack.logs / f'{name}.log').read_text()[-1500:]}"
        time.sleep(0.2)


def listening(stack: Stack, *parts: str) -> set[tuple[str, int]]:
    """Address and port of everything that the processes of some parts listen on; of all parts, where none is named."""
    found = set()
    for name in parts or services.services(stack, keys.ensure(stack.folder)):
        for process in launch.processes(stack, name):
            try:
                found |= {(c.laddr.ip, c.laddr.port) for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
            except psutil.Error:
                continue
    return found


def written(stack: Stack) -> set[Path]:
    """Every file that a part has open for writing."""
    found = set()
    for name in services.services(stack, keys.ensure(stack.folder)):
        for process in launch.processes(stack, name):
            with suppress(psutil.Error):  # it has just ended
                found |= {Path(file.path) for file in process.open_files() if file.mode != "r"}
    return found


@contextmanager
def computing(env: dict[str, str]) -> Iterator[None]:
    """An actor on the stack's Ray: a worker that has a port of its own."""
    driver = (
        "import ray; ray.init(); a = ray.remote(type('A', (), {'f': lambda self: 1})).remote(); print(ray.get(a.f.remote()), flush=True)"
    )
    command = [sys.executable, "-c", f"{driver}; input()"]
    with subprocess.Popen(command, env=os.environ | env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "1\n"
            yield
        finally:
            process.kill()
