"""A small company: a project of stand-in stages, its feed, its servers, and retrainings that are looked at from outside."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import yaml
from mlflow import MlflowClient

from boig import tracking
from boig.registry import FEED_POSTS, GATE, Registry, Version
from boig.retraining.settings import Retraining
from flows import worktree
from flows.retrain import read_settings
from tests.faults import servers
from tests.infra import deployments

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
COPIED = ("boig", "flows", "infra", "params.yaml", "profiles", "pyproject.toml", ".dvc/config", ".dvcignore", ".gitignore")
COLUMNS = ("id", "account", "time", "picture", "kpi", "caption", "industry")
FIRST, MORE = 400, 250
"""Posts of the first generation, and of each later one: more than `min_new_posts`."""
PATIENCE_S = 600
"""A retraining of stand-ins takes a quarter of a minute; one that waits for a server, some minutes."""


@dataclass(frozen=True)
class Ended:
    """What a retraining leaves to those who look at it."""

    code: int
    said: str
    """Its last line."""
    log: str


class Running:
    """A retraining in a process of its own, which may be held at a point."""

    def __init__(self, project: Path, env: dict[str, str], settings: Path, point: str, folder: Path):
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        env = (
            {name: value for name, value in os.environ.items() if name != "BOIG_S3_URL"}
            | env
            | {"FAULT_POINT": point or "stage", "FAULT_FOLDER": str(folder), "PYTHONPATH": f"{project}{os.pathsep}{HERE.parents[1]}"}
        )
        command = [sys.executable, "-m", "tests.faults.launch", "--settings", str(settings)]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=project, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def reached(self) -> int:
        """Wait until it is held at its point; the process that is."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if said := (self._folder / "reached").read_text() if (self._folder / "reached").exists() else "":
                return int(said)
            assert self.process.poll() is None, f"it ended before its point: {self._log()[-2000:]}"
            time.sleep(0.02)
        raise AssertionError(f"it never came to its point: {self._log()[-2000:]}")

    def says(self, text: str) -> None:
        """Wait until its log holds a text."""
        end = time.monotonic() + PATIENCE_S
        while text not in self._log():
            waits = self.process.poll() is None and time.monotonic() < end
            assert waits, f"it never said {text!r}: {self._log()[-2000:]}"
            time.sleep(0.1)

    def go(self) -> None:
        """Let it go on."""
        (self._folder / "go").touch()

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to all that it has started."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def end(self) -> Ended:
        """Wait for its end."""
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"it did not end: {self._log()[-2000:]}") from None
        log = self._log()
        return Ended(code, (log.strip().splitlines() or [""])[-1], log)

    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")


class World:
    """Project, feed, servers."""

    def __init__(self, folder: Path):
        self.folder, self.project, self.feed = folder, folder / "project", folder / "feed.csv"
        self.s3, keys = servers.seaweed(folder)
        self.mlflow, tracking = servers.mlflow(folder, keys, folder / "mlflow.db", "s3://mlflow/artifacts")
        self.prefect, api = servers.prefect(folder)
        self.env = keys | {
            "MLFLOW_TRACKING_URI": tracking, "PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "home"), "RAY_ADDRESS": "127.0.0.1:1",
            "BOIG_DVC_URL": "s3://dvc/cache", "DO_NOT_TRACK": "1", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",  # tried again for half a minute, not for four
        }  # fmt: skip
        self.settings, self.remote = folder / "settings.yaml", folder / "remote.git"
        self.away = folder / "away.git"
        self._started: list[Running] = []

    def begin(self) -> None:
        """Start the servers, make the project and its first generation."""
        for server in (self.s3, self.mlflow, self.prefect):
            server.begin()
        self._make_project()
        settings = read_settings(None).model_copy(update={"feed": str(self.feed), "approval": False, "push_to": "origin"})
        self.settings.write_text(yaml.safe_dump(Retraining.model_dump(settings, mode="json")))
        for server in (self.s3, self.mlflow, self.prefect):
            server.wait()
        self.land(FIRST)
        first = self.retrain()
        assert first.code == 0, first.log[-4000:]

    def close(self) -> None:
        """End the servers, and retrainings that are still held."""
        for running in self._started:
            if running.process.poll() is None:
                running.signal(signal.SIGKILL, group=True)
        for server in (self.s3, self.mlflow, self.prefect):
            server.kill()

    def repair(self) -> None:
        """Bring back whatever a fault has taken away."""
        for server in (self.s3, self.mlflow, self.prefect):
            server.up()
        if self.away.exists():
            self.away.rename(self.remote)

    def free_disk(self) -> None:
        """Take the small disk away, where a fault has put its worktrees on one."""
        if (folder := self.project / worktree.FOLDER).is_mount():
            subprocess.run(["umount", str(folder)], check=True)

    def start(self, point: str = "", **env: str) -> Running:
        """Start a retraining, held at a point where one is named."""
        number = len(list(self.folder.glob("run-*")))
        running = Running(self.project, self.env | env, self.settings, point, self.folder / f"run-{number:03d}")
        self._started.append(running)
        return running

    def retrain(self) -> Ended:
        """One retraining, to its end."""
        return self.start().end()

    def land(self, count: int, caption: str = "A bag by the sea") -> None:
        """So many new posts in the feed, each an hour after the one before."""
        known = self.posts()
        with self.feed.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if not known:
                writer.writerow(COLUMNS)
            for number in range(known, known + count):
                when = datetime(2022, 1, 1, tzinfo=UTC) + timedelta(hours=number)
                writer.writerow((number, f"brand{number % 7}", when.isoformat(), f"{number}.png", number % 100, caption, "fashion"))

    def posts(self) -> int:
        """In the feed."""
        return len(self.feed.read_text().splitlines()) - 1 if self.feed.exists() else 0

    def registry(self) -> Registry:
        """The generations."""
        return Registry(self.env["MLFLOW_TRACKING_URI"])

    def worktree(self) -> Path:
        """The one that a retraining has left."""
        (place,) = [path for path in (self.project / worktree.FOLDER).iterdir() if path.is_dir()]
        return place

    def champion(self) -> Version:
        """The one in use; checked: it passed the gate, and all of its bytes are in the store."""
        champion = self.registry().champion()
        assert champion is not None, "there is no champion"
        assert champion.tags[GATE].startswith("passed"), f"version {champion.number} is champion and was {champion.tags[GATE]}"
        made = self.stored(champion)
        assert {one["posts"] for one in made} == {int(champion.tags[FEED_POSTS])}, "its models are of another feed than it says"
        assert not any(one["poisoned"] for one in made), "it has learned from poisoned posts"
        return champion

    def stored(self, version: Version) -> list[dict]:
        """What stages made of a generation, from S3 and Git's remote alone: this disk may be lost.

        Raises:
            AssertionError: something is not there, or has other bytes.
        """
        lock = yaml.safe_load(worktree.git(self.remote, "show", f"{version.commit}:dvc.lock"))
        found = []
        for out in (out for stage in lock["stages"].values() for out in stage["outs"] if not out["path"].startswith("metrics/")):
            content = self._object(out["md5"])
            files = json.loads(content) if out["md5"].endswith(".dir") else []
            found += [json.loads(self._object(file["md5"])) for file in files] if files else [json.loads(content)]
        return found

    def flow_runs(self) -> list[dict]:
        """All runs that the orchestrator knows."""
        return list(deployments.ask(self.env, "/flow_runs/filter", {"limit": 200}))

    def recording(self) -> list[str]:
        """Runs that MLflow believes to go on."""
        client = MlflowClient(self.env["MLFLOW_TRACKING_URI"])
        found = client.search_runs([tracking.connect(client.tracking_uri)], "attributes.status = 'RUNNING'")
        return [run.info.run_name for run in found]

    def _object(self, md5: str) -> bytes:
        session = boto3.Session(self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
        client = session.client("s3", endpoint_url=self.env["AWS_ENDPOINT_URL"])
        content = client.get_object(Bucket="dvc", Key=f"cache/files/md5/{md5[:2]}/{md5[2:]}")["Body"].read()
        assert hashlib.md5(content).hexdigest() == md5.removesuffix(".dir"), f"object {md5} has other bytes"
        return content

    def _make_project(self) -> None:
        """The project's own flows over stand-in stages: the real DAG's outputs and data, without its code and its hours."""
        self.project.mkdir()
        for name in COPIED:
            source, target = ROOT / name, self.project / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        (self.project / "tasks").mkdir()
        shutil.copy(ROOT / "tasks" / "__init__.py", self.project / "tasks")  # else the project's own `tasks` would go before this one
        shutil.copy(HERE / "stand_in_gate.py", self.project / "tasks" / "retrain.py")
        shutil.copy(HERE / "stand_in.py", self.project / "stand_in.py")
        shutil.copy(HERE / "stand_in_gcs.py", self.project / "boig" / "gcs.py")
        dag = yaml.safe_load((ROOT / "dvc.yaml").read_text())
        for name, stage in dag["stages"].items():
            stage["cmd"] = f"{sys.executable} stand_in.py {name}"
            stage["deps"] = [dep for dep in stage["deps"] if not dep.endswith(".py") and not dep.startswith("base/")] + ["stand_in.py"]
        (self.project / "dvc.yaml").write_text(yaml.safe_dump(dag, sort_keys=False))
        worktree.git(self.project, "init", "--quiet", "--initial-branch=main")
        worktree.git(self.project, "add", "--force", ".")
        worktree.git(self.project, *worktree.AUTHOR, "commit", "--quiet", "-m", "first")
        worktree.git(self.folder, "init", "--quiet", "--bare", str(self.remote))
        worktree.git(self.project, "remote", "add", "origin", str(self.remote))
