"""Against a real S3 server: what a run publishes, and DVC's push and pull."""

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import botocore.auth
import pytest
import typer
from botocore.awsrequest import AWSRequest

from boig.store import Store, check, publish, run_id
from infra.policies import bucket_documents
from infra.published import download, main
from infra.remote import configure
from tests.infra.stack import allowed

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

    assert download(address, tmp_path / "back") == 5
    assert (tmp_path / "back" / "models/boigsd/pft/adapter_model.safetensors").read_text() == "models/boigsd/pft/adapter_model.safetensors"
    assert (tmp_path / "back" / "metrics" / "evaluate.json").read_text() == "metrics/evaluate.json"
    with pytest.raises(FileExistsError, match="name a new folder"):
        download(address, tmp_path / "back")


@pytest.mark.parametrize("name", ["reports/report.html", "manifest.json"])
def test_what_somebody_has_changed_is_refused_and_nothing_is_left(
    name: str, client: dict[str, str], workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BOIG_S3_URL", f"s3://boig/changed/{Path(name).stem}")
    address = publish(workspace, "default")
    store = Store.from_url(address.removesuffix("/manifest.json"))
    store.client.put_object(Bucket="boig", Key=store.key(name), Body=b"changed")
    with pytest.raises(ConnectionError, match=rf"{name} (has sha256 .* was published|is not what was published there); publish it again"):
        download(address, tmp_path / "back")
    assert [path.name for path in tmp_path.iterdir()] == ["workspace"]


def test_a_manifest_cannot_name_what_is_outside(client: dict[str, str], tmp_path: Path):
    hashes = {"../../evil": "00" * 32}
    place = Store.from_url(f"s3://boig/evil/runs/default/{run_id(hashes)}")
    run = f"runs/default/{run_id(hashes)}"
    place.put_once("manifest.json", {"files": [{"name": f"{run}/{name}", "sha256": sha256} for name, sha256 in hashes.items()]})
    with pytest.raises(ValueError, match=r"names '../../evil', which would be outside"):
        download(f"s3://boig/evil/{run}/manifest.json", tmp_path / "back")


def test_a_large_file_goes_in_parts_and_comes_back_equal(client: dict[str, str], tmp_path: Path):
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(random.Random(0).randbytes(20_000_000))
    store = Store.from_url("s3://boig/large")
    store.send(sent, store.key("file"))
    [entry] = store.entries()
    assert entry.etag.endswith("-3"), "S3's mark of what came in three parts"
    store.fetch(entry.key, back)
    assert back.read_bytes() == sent.read_bytes()


def test_the_server_refuses_what_was_damaged_on_its_way(client: dict[str, str], tmp_path: Path):
    def damage(request: AWSRequest, **_: object) -> None:
        request.headers.replace_header("x-amz-checksum-crc32", "AAAAAA==")

    store = Store.from_url("s3://boig/damaged")
    store.client.meta.events.register("before-sign.s3.PutObject", damage)
    (tmp_path / "file").write_text("content")
    with pytest.raises(ConnectionError, match=r"BadDigest.*; the content was damaged on its way; start again"):
        store.send(tmp_path / "file", store.key("file"))
    assert store.entries() == []


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
    assert str(raised.value).endswith("AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID; set both to one pair")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(ConnectionError, match=r"InvalidAccessKeyId.*; the server does not know AWS_ACCESS_KEY_ID; set keys of this server"):
        publish(workspace, "default")


def test_a_missing_bucket_is_told_with_its_mend(client: dict[str, str]):
    with pytest.raises(ConnectionError, match=r"cannot list s3://no-such: .*; make the bucket, or name another in BOIG_S3_URL$"):
        check("s3://no-such", client)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_off_is_told_with_its_mend(hours: int, client: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *arguments: now(*arguments) + timedelta(hours=hours))
    with pytest.raises(ConnectionError, match=r"RequestTimeTooSkewed.*; this machine's clock is off; set it by NTP"):
        Store.from_url("s3://boig").entries()


def test_what_is_not_there_is_told_by_the_command(client: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for address, told in {
        "s3://boig/nothing/manifest.json": "cannot download s3://boig/nothing/manifest.json: .*; it is not there; check the address",
        "s3://boig/nothing": "'s3://boig/nothing' must end with /manifest.json",
    }.items():
        with pytest.raises(typer.Exit):
            main(address, tmp_path / "back")
        assert re.fullmatch(f"published: {told}[^\n]*\n", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_a_bucket_with_aws_documents_refuses_whoever_comes_without_tls(client: dict[str, str]):
    admin = Store.from_url("s3://guarded").client
    admin.create_bucket(Bucket="guarded")
    admin.put_object(Bucket="guarded", Key="before", Body=b"x")
    documents = bucket_documents("published", {"published": "guarded"})
    admin.put_bucket_lifecycle_configuration(Bucket="guarded", LifecycleConfiguration=documents["lifecycle"])
    rules = {rule["ID"]: rule for rule in admin.get_bucket_lifecycle_configuration(Bucket="guarded")["Rules"]}
    assert rules["UnfinishedUploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert (rules["HandedOver"]["Filter"], rules["HandedOver"]["Expiration"]["Days"]) == ({"Prefix": "handover/"}, 30)
    admin.put_bucket_policy(Bucket="guarded", Policy=json.dumps(documents["policy"]))
    for call in (admin.get_object, partial(admin.put_object, Body=b"x"), admin.delete_object):
        assert not allowed(partial(call, Bucket="guarded", Key="before"))
    with pytest.raises(ConnectionError, match=r"cannot list s3://guarded/: AccessDenied.*; these keys may not do that; take those of"):
        Store.from_url("s3://guarded").entries()


def test_dvc_pushes_to_the_store_and_pulls_what_nobody_has_changed(client: dict[str, str], tmp_path: Path):
    root = tmp_path / "project"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    (root / "dvc.yaml").write_text("stages:\n  make:\n    cmd: mkdir -p out && echo one > out/a && echo two > out/b\n    outs: [out]\n")
    configure("s3://dvc/project", root)
    dvc(root, "repro")
    dvc(root, "push")
    forget(root)
    dvc(root, "pull")
    assert (root / "out" / "b").read_text() == "two\n"
    secret = client["AWS_SECRET_ACCESS_KEY"]
    assert not [path for path in (root / ".dvc").rglob("config*") if secret in path.read_text()]

    forget(root)
    store = Store.from_url("s3://dvc/project")
    changed = next(entry.key for entry in store.entries() if entry.key.endswith(hashlib.md5(b"two\n").hexdigest()[2:]))
    store.client.put_object(Bucket="dvc", Key=changed, Body=b"TWO\n")
    with pytest.raises(AssertionError, match="failed to pull"):
        dvc(root, "pull")
    assert not (root / "out" / "b").exists()


def forget(root: Path) -> None:
    """What was made, here and in the cache."""
    shutil.rmtree(root / "out")
    shutil.rmtree(root / ".dvc" / "cache")


def dvc(root: Path, *arguments: str) -> None:
    command = [str(Path(sys.executable).parent / "dvc"), *arguments]
    done = subprocess.run(command, cwd=root, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
