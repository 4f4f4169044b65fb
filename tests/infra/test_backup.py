"""Backup and restore: the objects of a real S3 server; docker and PostgreSQL by a stand-in that keeps a database as a file."""

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from boig.store import Store, ensure_buckets
from infra.compose import backup
from infra.compose.backup import DATABASES, DONE, OBJECTS

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DOCKER = """#!{python}
import os, shutil, subprocess, sys
from pathlib import Path
words, state = sys.argv[4:], Path(os.environ["STATE"])  # after: compose --file compose.yaml
with (state / "calls").open("a") as calls:
    print(*words, file=calls)
if words[0] == "exec":
    program, *arguments = words[3:]
    name = arguments[-1].removeprefix("--dbname=")
    if program == "pg_dump":
        sys.stdout.buffer.write((state / name).read_bytes())
    elif program == "createdb":
        (state / name).write_bytes(b"")
    elif program == "dropdb":
        (state / name).unlink(missing_ok=True)
    elif program == "pg_restore":
        content = sys.stdin.buffer.read()
        if content.startswith(b"broken"):
            sys.exit("pg_restore: error: unexpected end of file")
        (state / name).write_bytes(content)
    elif program == "psql" and name in {databases}:
        print(len((state / name).read_text().split()))
elif words[0] == "run":
    folder = words[words.index("--volume") + 1].removesuffix(":/backup")
    command = [sys.executable, *(folder if word == "/backup" else word for word in words[words.index("python") + 1:])]
    sys.exit(subprocess.run(command).returncode)
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in for docker keeps its databases; each has rows."""
    state = tmp_path / "state"
    (state / "bin").mkdir(parents=True)
    docker = state / "bin" / "docker"
    scratch = [f"verify_{name}" for name in DATABASES]
    docker.write_text(DOCKER.replace("{python}", sys.executable).replace("{databases}", repr(scratch)))
    docker.chmod(stat.S_IRWXU)
    for name in DATABASES:
        (state / name).write_text(f"rows of {name}")
    monkeypatch.setenv("PATH", f"{docker.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(state))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return state


@pytest.fixture
def client(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    """A client of a real S3 server with empty buckets."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    ensure_buckets(s3["AWS_ENDPOINT_URL"], s3["AWS_ACCESS_KEY_ID"], s3["AWS_SECRET_ACCESS_KEY"], ["dvc", "mlflow", "boig"])
    client = boto3.client("s3")
    for bucket in ("dvc", "mlflow", "boig"):
        for entry in Store(client, bucket, "").entries():
            client.delete_object(Bucket=bucket, Key=entry.key)
    return client


def content(client, bucket: str, key: str) -> bytes:
    return client.get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.mark.slow
class TestWithObjects:
    def test_what_was_lost_is_there_again(self, state: Path, client, tmp_path: Path) -> None:
        folder = tmp_path / "backup"
        client.put_object(Bucket="dvc", Key="files/md5/ab/cd", Body=b"data")
        client.put_object(Bucket="mlflow", Key="artifacts/1/größe, é.png", Body=b"picture")
        client.put_object(Bucket="boig", Key="runs/manifest.json", Body=b"data")  # equal content
        assert backup.main(["make", str(folder)]) == 0
        name = next(folder.glob(f"*/{DONE}")).parent.name
        assert len(list((folder / "blobs").glob("*/*"))) == 2

        client.delete_object(Bucket="dvc", Key="files/md5/ab/cd")
        client.put_object(Bucket="mlflow", Key="artifacts/1/größe, é.png", Body=b"written over")
        client.put_object(Bucket="boig", Key="later", Body=b"later")
        (state / "mlflow").write_text("wrong")
        (state / "prefect").unlink()
        assert backup.main(["restore", str(folder), name]) == 0
        assert content(client, "dvc", "files/md5/ab/cd") == b"data"
        assert content(client, "mlflow", "artifacts/1/größe, é.png") == b"picture"
        assert content(client, "boig", "later") == b"later"
        assert {database: (state / database).read_text() for database in DATABASES} == {d: f"rows of {d}" for d in DATABASES}

    def test_only_what_is_new_travels(self, state: Path, client, tmp_path: Path) -> None:
        folder = tmp_path / "backup"
        folder.mkdir()
        client.put_object(Bucket="dvc", Key="old", Body=b"old")
        first = backup.make(folder, NOW)
        blob = next((folder / "blobs").glob("*/*"))
        os.utime(blob, (1, 1))
        client.put_object(Bucket="dvc", Key="new", Body=b"new")
        second = backup.make(folder, NOW + timedelta(days=1))
        assert blob.stat().st_mtime == 1
        assert [row["key"] for row in backup.listed(folder / first)] == ["old"]
        assert sorted(row["key"] for row in backup.listed(folder / second)) == ["new", "old"]
        blob.unlink()
        backup.make(folder, NOW + timedelta(days=2))
        assert blob.read_bytes() == b"old", "a copy that was lost is made anew"

    def test_a_damaged_copy_is_not_brought_back(self, state: Path, client, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        folder = tmp_path / "backup"
        folder.mkdir()
        client.put_object(Bucket="dvc", Key="x", Body=b"x")
        name = backup.make(folder, NOW)
        next((folder / "blobs").glob("*/*")).write_bytes(b"y")
        client.delete_object(Bucket="dvc", Key="x")
        assert backup.main(["verify", str(folder), name]) == 1
        assert backup.main(["restore", str(folder), name]) == 1
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 2
        assert all("damaged" in line for line in told)
        assert (state / "mlflow").read_text() == "rows of mlflow", "databases are left alone while objects are missing"


def write(folder: Path, name: str, *digests: str, done: bool = True) -> None:
    """A backup with these contents."""
    (folder / name).mkdir(parents=True)
    for digest in digests:
        backup.blob_path(folder, digest).parent.mkdir(parents=True, exist_ok=True)
        backup.blob_path(folder, digest).write_text(digest)
    (folder / name / OBJECTS).write_text("".join(json.dumps({"bucket": "dvc", "key": d, "sha256": d}) + "\n" for d in digests))
    if done:
        (folder / name / DONE).write_text("{}")


def test_databases_come_before_objects_and_the_end_is_marked_last(state: Path, tmp_path: Path) -> None:
    """The stand-in has no S3 here: copying objects fails."""
    folder = tmp_path / "backup"
    folder.mkdir()
    with pytest.raises(ConnectionError, match=r"run .*infra.compose.objects save"):
        backup.make(folder, NOW)
    calls = [line.split()[3] if line.startswith("exec") else line.split()[0] for line in (state / "calls").read_text().splitlines()]
    assert calls == ["pg_dump"] * len(DATABASES) + ["run"]
    place = folder / NOW.strftime(backup.FORMAT)
    assert (place / "mlflow.dump").read_text() == "rows of mlflow"
    assert not (place / DONE).exists()
    with pytest.raises(ValueError, match="no complete backup"):
        backup.verify(folder, place.name)


def test_verify_restores_beside_what_is_there(state: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    write(folder, "20261125T120000Z")
    for database in DATABASES:
        (folder / "20261125T120000Z" / f"{database}.dump").write_text("a b c")
    assert backup.verify(folder, "20261125T120000Z") == "20261125T120000Z: tables mlflow 3, mlflow_auth 3, prefect 3; 0 contents as hashed"
    assert {path.name for path in state.iterdir()} == {"bin", "calls", *DATABASES}
    assert (state / "mlflow").read_text() == "rows of mlflow"
    (folder / "20261125T120000Z" / "prefect.dump").write_text("broken")
    with pytest.raises(ConnectionError, match="unexpected end of file"):
        backup.verify(folder, "20261125T120000Z")
    (folder / "20261125T120000Z" / "prefect.dump").write_text("")
    with pytest.raises(ValueError, match="has no tables"):
        backup.verify(folder, "20261125T120000Z")
    assert not (state / "verify_prefect").exists()


def test_clients_are_stopped_before_anything_is_replaced(state: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    write(folder, "20261125T120000Z")
    with pytest.raises(ConnectionError):  # no S3 here
        backup.restore(folder, "20261125T120000Z")
    calls = (state / "calls").read_text().splitlines()
    assert calls[:2] == ["stop proxy worker prefect mlflow", "up --detach --wait postgres s3"]
    assert not [call for call in calls if "dropdb" in call]


def test_old_backups_go_and_what_others_need_stays(tmp_path: Path) -> None:
    write(tmp_path, "20261001T000000Z", "aa", "bb")
    write(tmp_path, "20261101T000000Z", "bb", "cc")
    write(tmp_path, "20261120T000000Z", "dd", done=False)
    write(tmp_path, "20261125T110000Z", "ee", done=False)
    assert backup.prune(tmp_path, 30, NOW) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"20261101T000000Z", "20261125T110000Z", "blobs"}
    assert {path.name for path in (tmp_path / "blobs").glob("*/*")} == {"bb", "cc", "ee"}
    assert backup.prune(tmp_path, 0, NOW + timedelta(days=300)) == 1, "the newest complete one is kept whatever its age"
    assert {path.name for path in (tmp_path / "blobs").glob("*/*")} == {"bb", "cc"}


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with backup._alone(tmp_path), pytest.raises(ValueError, match="another backup works"), backup._alone(tmp_path):
        pass


def test_it_runs_with_the_standard_library_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "infra.compose.backup", "list", "/proc/none"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("backup: ")
