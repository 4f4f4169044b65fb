"""Against a real S3 server: what a run publishes, and DVC's push and pull."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from boig.store import Store, publish
from infra.remote import configure

pytestmark = pytest.mark.slow


@pytest.fixture
def client(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process as a client of the server."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """What a run leaves behind, small."""
    root = tmp_path / "workspace"
    for name in ("metrics/evaluate.json", "models/boigsd/pft/adapter_model.safetensors", "reports/report.html", "dvc.lock", "params.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_a_run_is_published_once_with_its_manifest_last(
    client: dict[str, str], workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BOIG_S3_URL", "s3://boig/team")
    address = publish(workspace, "default")
    assert address.startswith("s3://boig/team/runs/default/")
    assert publish(workspace, "default") == address
    (workspace / "metrics" / "evaluate.json").write_text("other")
    assert publish(workspace, "default") != address

    store = Store.from_url("s3://boig/team")
    name = address.removeprefix("s3://boig/team/").removesuffix("/manifest.json")
    assert store.download(name, tmp_path / "back") == 6
    assert (tmp_path / "back" / "models/boigsd/pft/adapter_model.safetensors").read_text() == "models/boigsd/pft/adapter_model.safetensors"
    assert (tmp_path / "back" / "manifest.json").is_file()


def test_a_manifest_is_never_replaced(client: dict[str, str]):
    store = Store.from_url("s3://boig/once")
    assert store.put_once("manifest.json", {"a": 1})
    assert not store.put_once("manifest.json", {"a": 2})
    assert store.client.get_object(Bucket="boig", Key="once/manifest.json")["Body"].read() == b'{\n "a": 1\n}'


def test_a_wrong_key_is_refused_in_one_line_without_the_key(client: dict[str, str], workspace: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BOIG_S3_URL", "s3://boig/team")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(ConnectionError, match="cannot upload to s3://boig/team/runs") as raised:
        publish(workspace, "default")
    assert "\n" not in str(raised.value)
    assert "not-the-secret" not in str(raised.value)


def test_what_is_not_there_is_named(client: dict[str, str], tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="s3://boig/nothing/x is empty"):
        Store.from_url("s3://boig/nothing").download("x", tmp_path)


def test_dvc_pushes_to_and_pulls_from_the_store(client: dict[str, str], tmp_path: Path):
    root = tmp_path / "project"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    (root / "dvc.yaml").write_text("stages:\n  make:\n    cmd: mkdir -p out && echo one > out/a && echo two > out/b\n    outs: [out]\n")
    configure("s3://dvc/project", root)
    dvc(root, "repro")
    dvc(root, "push")
    shutil.rmtree(root / "out")
    shutil.rmtree(root / ".dvc" / "cache")
    dvc(root, "pull")
    assert (root / "out" / "b").read_text() == "two\n"
    secret = client["AWS_SECRET_ACCESS_KEY"]
    assert not [path for path in (root / ".dvc").rglob("config*") if secret in path.read_text()]


def dvc(root: Path, *arguments: str) -> None:
    command = [str(Path(sys.executable).parent / "dvc"), *arguments]
    done = subprocess.run(command, cwd=root, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
