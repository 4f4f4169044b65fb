"""The local stack with MLflow's runs and users in a real PostgreSQL, started here."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest
from mlflow import MlflowClient
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from infra.compose.prepare import Users
from infra.stack import keys, launch, services, settings
from tests.conftest import free_port
from tests.infra.stack import run, write_settings

PASSWORD = "50% p@ss/word"
"""Has all that addresses and settings files give a meaning of their own."""


def _program(name: str) -> str | None:
    """Debian keeps the server's programs out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return shutil.which(name) or (str(found[-1]) if found else None)


@retry(retry=retry_if_exception_type(psycopg2.OperationalError), wait=wait_fixed(0.2), stop=stop_after_delay(60))
def _first_answer(address: str) -> None:
    psycopg2.connect(address).close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Address of an empty database."""
    initdb, server = _program("initdb"), _program("postgres")
    if not (initdb and server):
        pytest.skip("PostgreSQL is not installed; Debian's package is postgresql")
    user = "nobody" if os.getuid() == 0 else None  # it does not run as root
    with tempfile.TemporaryDirectory(prefix="boig-postgres-") as place:  # pytest's folders are for their owner alone
        port, data, password = free_port(), Path(place, "data"), Path(place, "password")
        password.write_text(PASSWORD)
        data.mkdir()
        if user:
            for path in (Path(place), data, password):
                shutil.chown(path, user)
        as_user: dict = {"user": user, "cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([initdb, "-D", data, "-U", "mlflow", f"--pwfile={password}", "--auth=scram-sha-256"], check=True, **as_user)
        with subprocess.Popen([server, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", ""], **as_user) as running:
            address = f"postgresql://mlflow:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
            _first_answer(address)
            yield address
            running.send_signal(signal.SIGINT)  # its clients do not hold it up


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_settings(tmp_path)


@pytest.mark.slow
def test_runs_and_users_are_in_the_named_database(postgres: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres)
    stack = settings.load(path)
    found = keys.ensure(stack.folder)
    for name, value in services.environment(stack, found).items():
        monkeypatch.setenv(name, value)
    try:
        done = run(path, "up")
        assert done.returncode == 0, done.stderr[-2000:]
        assert "MLflow's runs are in postgresql+psycopg2://mlflow:***@127.0.0.1" in done.stdout
        client = MlflowClient(stack.url("mlflow"))
        made = client.create_run(client.create_experiment("in a database"), run_name="kept").info.run_id
        Users(stack.url("mlflow"), found.mlflow_user, found.mlflow_password).ensure("someone", "a-long-password")
        others = [process.environ() for name in ("s3", "prefect", "worker", "ray") for process in launch.processes(stack, name)]
        assert others
        assert not [name for env in others for name in env if name == "DATABASE_URL"]
        assert run(path, "down").returncode == 0
        assert run(path, "up").returncode == 0
        assert client.get_run(made).info.run_name == "kept"
        assert Users(stack.url("mlflow"), "someone", "a-long-password").let_in()
        told = done.stdout + "".join(log.read_text(errors="replace") for log in stack.logs.glob("*.log"))
        assert not [shape for shape in (PASSWORD, quote(PASSWORD, safe="")) if shape in told]
    finally:
        run(path, "down")
    with psycopg2.connect(postgres) as database, database.cursor() as cursor:
        cursor.execute("SELECT name FROM runs")
        assert cursor.fetchall() == [("kept",)]
        cursor.execute("SELECT count(*) FROM users WHERE username = 'someone'")
        assert cursor.fetchone() == (1,)
    assert not list((stack.folder / "mlflow").glob("*.db"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("postgresql://", "mysql://"), "DATABASE_URL must look like postgresql://user:password@host/database, is mysql://mlflow:***@"),
        (("/postgres", ""), "DATABASE_URL must look like"),
        (("://", ":"), "DATABASE_URL must look like"),
        (("/postgres", "/nowhere"), 'database "nowhere" does not exist; start PostgreSQL and make the database, or unset DATABASE_URL'),
        (("mlflow:", "mlflow:x"), "password authentication failed"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(
    change: tuple[str, str], told: str, postgres: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", change[1].join(postgres.rsplit(change[0], 1)))  # the last one: `/postgres` is at its end
    done = run(path, "up")
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert quote(PASSWORD, safe="") not in done.stderr


def test_a_database_that_is_away_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://mlflow:secret@127.0.0.1:{free_port()}/mlflow")
    done = run(path, "up")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "start PostgreSQL" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "secret" not in done.stderr
