"""The doctor's lines, each on a server that is as the line says: what is found, and what to do about it."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from infra import doctor
from infra.stack import keys, settings
from tests.conftest import free_port
from tests.infra.stack import write_settings

ROOT = Path(__file__).parents[2]
Lines = Callable[[str, dict[str, str]], list[str]]


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """The doctor's lines of one subject, where no local stack is and the environment is all that is asked."""
    none = settings.load(settings.DEFAULT).model_copy(update={"folder": tmp_path})
    monkeypatch.setattr(doctor, "load", lambda: none)

    def told(what: str, env: dict[str, str]) -> list[str]:
        return [str(finding) for finding in doctor.examine(ROOT, env) if finding.what == what]

    return told


@contextmanager
def server(stranger: int, known: int, ahead: timedelta = timedelta(0), body: bytes = b"") -> Iterator[str]:
    """Address of a server that has one answer for whoever shows a key, and one for all others, and a clock of its own."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(known if "Authorization" in self.headers else stranger)
            self.send_header("Date", format_datetime(datetime.now(UTC) + ahead, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({}, "runs use SQLite and start their own Prefect and Ray"),
        ({"RAY_ADDRESS": ""}, "runs use SQLite and start their own Prefect and Ray"),
        ({"MLFLOW_TRACKING_URI": "sqlite:///x.db", "RAY_ADDRESS": ""}, "the environment has MLFLOW_TRACKING_URI"),
    ],
)
def test_without_a_stack_it_tells_what_runs_will_use(env: dict[str, str], told: str, lines: Lines):
    assert told in lines("stack", env)[0]


def test_a_stack_that_is_down_and_its_taken_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    port = free_port()
    path = write_settings(tmp_path, mlflow=port)
    monkeypatch.setenv(settings.SETTING, str(path))
    keys.ensure(settings.load(path).folder)

    def told() -> str:
        return next(str(finding) for finding in doctor.examine(ROOT, {}) if finding.what == "stack")

    assert told().endswith(f"is down; its data are in {tmp_path / 'stack'} → make stack")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        wanted = f"is down, and ports are taken: {port} (mlflow) by pid {os.getpid()} "
        assert wanted in told()
        assert told().endswith("→ end it, or name other ports in infra/stack.yaml; then `make stack`")


def test_settings_and_keys_that_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def told() -> list[doctor.Finding]:
        return [finding for finding in doctor.examine(ROOT, {}) if finding.what == "stack"]

    path = write_settings(tmp_path)
    monkeypatch.setenv(settings.SETTING, str(path))
    folder = settings.load(path).folder
    keys.ensure(folder)
    (folder / keys.FILE).write_text("{")
    (finding,) = told()
    assert finding.broken
    assert finding.told.endswith(f"is damaged; restore it, or move {folder} away to start anew")
    monkeypatch.setenv(settings.SETTING, "nowhere.yaml")
    assert [str(one) for one in told()] == [
        "✗ stack      BOIG_STACK=nowhere.yaml does not exist; unset it for stack.yaml → mend infra/stack.yaml"
    ]


def test_buckets_that_are_well(s3: dict[str, str], lines: Lines):
    env = s3 | {"BOIG_S3_URL": "s3://boig/team", "BOIG_DVC_URL": "s3://dvc"}
    assert lines("s3", env) == [
        f"✓ s3         s3://{bucket} at {s3['AWS_ENDPOINT_URL']} can be listed, and not without a key" for bucket in ("boig/team", "dvc")
    ]
    assert not lines("clock", env)


@pytest.mark.parametrize(
    ("name", "url", "wrong", "told", "mend"),
    [
        ("BOIG_S3_URL", "s3://nowhere", {}, "NoSuchBucket", "make the bucket, or name another in BOIG_S3_URL"),
        ("BOIG_DVC_URL", "s3://nowhere", {}, "NoSuchBucket", "make the bucket, or name another in BOIG_DVC_URL"),
        ("BOIG_DVC_URL", "s3://dvc", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch", "set both to one pair"),
        ("BOIG_DVC_URL", "s3://dvc", {"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId", "set keys of this server"),
        ("BOIG_DVC_URL", "s3://dvc", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "EndpointConnectionError", "see whether the server runs"),
        ("BOIG_DVC_URL", "dvc", {}, "'dvc'", "must look like s3://bucket/prefix"),
    ],
)
def test_buckets_that_are_not(name: str, url: str, wrong: dict[str, str], told: str, mend: str, s3: dict[str, str], lines: Lines):
    (line,) = lines("s3", s3 | {name: url} | wrong)
    assert line.startswith(f"✗ s3         {name}")
    assert told in line.partition(" → ")[0]
    assert line.partition(" → ")[2].startswith(mend)


def test_a_store_without_a_door(lines: Lines):
    env = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1", "BOIG_S3_URL": "s3://boig"}
    with server(stranger=200, known=200, body=b"<ListBucketResult/>") as address:
        (line,) = lines("s3", env | {"AWS_ENDPOINT_URL": address})
    assert line.startswith(f"! s3         s3://boig at {address} can be listed by anybody → ")


@pytest.mark.parametrize(
    ("ahead", "told"),
    [(0, None), (-120, "! clock      is +120 s off"), (1200, "✗ clock      is -1200 s off"), (-1200, "✗ clock      is +1200 s off")],
)
def test_a_clock_that_is_off(ahead: int, told: str | None, lines: Lines):
    env = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1", "BOIG_DVC_URL": "s3://dvc"}
    refused = b"<Error><Code>RequestTimeTooSkewed</Code><Message>too large</Message></Error>"
    with server(stranger=403, known=403, ahead=timedelta(seconds=ahead), body=refused) as address:
        clock = lines("clock", env | {"AWS_ENDPOINT_URL": address})
        (store,) = lines("s3", env | {"AWS_ENDPOINT_URL": address})
    assert store.endswith(" → set it by NTP (`timedatectl set-ntp true`)")
    assert bool(clock) == bool(told)
    for line in clock:  # a second may pass while it looks
        assert abs(int(line.split()[3]) + ahead) <= 2
        assert line[0] == told[0]
        assert line.endswith(" → set it (`timedatectl set-ntp true`): S3 refuses signatures")


@pytest.mark.parametrize("what", ["mlflow", "prefect"])
@pytest.mark.parametrize(
    ("stranger", "known", "told", "mend"),
    [
        (401, 200, "✓ {what:<10} {address} lets us in, and nobody without a key", ""),
        (200, 200, "! {what:<10} {address} lets anybody in", "switch its authentication on"),
        (401, 401, "✗ {what:<10} {address} refuses our key (401)", "`. .stack/env`, or set"),
        (500, 500, "✗ {what:<10} {address} answers 500", "look at its log"),
    ],
)
def test_a_server_and_its_door(what: str, stranger: int, known: int, told: str, mend: str, lines: Lines):
    with server(stranger, known) as address:
        env = {"MLFLOW_TRACKING_URI": address, "MLFLOW_TRACKING_USERNAME": "x", "MLFLOW_TRACKING_PASSWORD": "x"}
        env |= {"PREFECT_API_URL": address, "PREFECT_API_AUTH_STRING": "x:x"}
        (line,) = lines(what, env)
    assert line.partition(" → ")[0] == told.format(what=what, address=address)
    assert line.partition(" → ")[2].startswith(mend)


def test_a_login_in_the_address_is_used_and_not_shown(lines: Lines):
    with server(stranger=401, known=200) as address:
        place = address.removeprefix("http://")
        (line,) = lines("mlflow", {"MLFLOW_TRACKING_URI": f"http://ann:hunter2@{place}"})
    assert line == f"✓ mlflow     http://{place} lets us in, and nobody without a key"


def test_a_server_that_is_away_and_one_that_is_none(lines: Lines):
    env = {"MLFLOW_TRACKING_URI": "sqlite:///x.db", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    assert lines("mlflow", env) == ["✓ mlflow     no server: sqlite"]
    assert lines("prefect", env) == ["✗ prefect    http://127.0.0.1:9/api does not answer → start it, or unset PREFECT_API_*"]


def test_packages_that_are_not_as_locked(tmp_path: Path):
    (tmp_path / "requirements.lock").write_text("ray==0.1\nno-such-package==1.0\n")
    told = next(str(finding) for finding in doctor.examine(tmp_path, {}) if finding.what == "packages")
    assert told.startswith("! packages   ray ")
    assert told.endswith("instead of 0.1; no-such-package is missing → make setup")


@pytest.mark.parametrize(("free_gb", "mark"), [(50, "✓"), (3, "!"), (0.5, "✗")])
def test_a_disk_that_fills(free_gb: float, mark: str, lines: Lines, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=free_gb * 1e9))
    (line,) = lines("disk", {})
    assert line[0] == mark
    assert ("dvc gc" in line) == (mark != "✓")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo A card, 80 GB, 570", "✓ gpu        A card, 80 GB, 570"),
        ("echo no driver >&2; exit 9", "! gpu        nvidia-smi fails: no driver → install the driver that fits the kernel"),
        (None, "✓ gpu        none: training runs on the CPU"),
    ],
)
def test_a_gpu(script: str | None, told: str, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = None
    if script:
        found = tmp_path / "nvidia-smi"
        found.write_text(f"#!/bin/sh\n{script}\n")
        found.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor.shutil, "which", lambda _: found and str(found))
    assert lines("gpu", {}) == [told]
