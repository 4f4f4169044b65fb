"""The whole pipeline at its smallest size, from a clean copy of the project."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from boig.params import SECTIONS
from flows import services
from tests.conftest import copy_project, free_port, without_servers
from tests.flows.nodes import Nodes, can_hide

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MEASURED = ("metrics/",)
"""What has the stage's own times in it."""
TELL_TIMES = (*MEASURED, "reports/report.html", "reports/model_card.md")
"""The report shows those of all stages: with equal inputs it has equal bytes, after another run of the stages it has not."""
COMMAND = [sys.executable, "-m", "flows.repro", "--profile", "smoke"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy, after `python -m flows.repro --profile smoke`."""
    root = tmp_path_factory.mktemp("smoke") / "project"
    copy_project(root)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    done = repro(root)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return root


def repro(root: Path, servers: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(COMMAND, cwd=root, env=without_servers() | (servers or {}), capture_output=True, text=True, check=False)


def test_every_stage_leaves_its_metrics_under_the_profiles_name(project: Path):
    for stage in SECTIONS:
        assert json.loads((project / "metrics" / "smoke" / f"{stage}.json").read_text())
    assert not list((project / "metrics").glob("*.json")), "a profile wrote the default's metrics"
    assert (project / "reports" / "smoke" / "report.html").stat().st_size > 1000
    assert (project / "profiles" / "smoke.lock").is_file()


def test_the_run_is_measured(project: Path):
    run = json.loads((project / "metrics" / "smoke" / "run.json").read_text())
    assert list(run["stages"]) == list(SECTIONS)
    assert run["not_run"] == []
    assert 0.5 < run["peak_rss_gb"] < 8


def test_a_second_run_does_nothing(project: Path):
    before = (project / "metrics" / "smoke" / "run.json").read_text()
    done = repro(project)
    assert done.returncode == 0
    assert done.stdout.count("didn't change, skipping") >= len(SECTIONS)
    assert (project / "metrics" / "smoke" / "run.json").read_text() == before


def test_the_run_is_in_mlflow_with_a_child_per_stage_and_its_lineage(project: Path):
    from mlflow import MlflowClient

    from boig import tracking

    uri = f"sqlite:///{project / 'mlflow.db'}"
    client = MlflowClient(uri)
    parents = [
        run for run in client.search_runs([client.get_experiment_by_name("boig").experiment_id]) if run.info.run_name == "pipeline (smoke)"
    ]
    assert len(parents) == 1
    children = tracking.children(tracking.Run(uri, parents[0].info.run_id))
    assert set(children) == set(SECTIONS)
    tags = client.get_run(children["evaluate"].run_id).data.tags
    assert tags["profile"] == "smoke"
    assert tags["dvc.out.reports/report.html"]
    assert tags["dvc.dep.data/posts"]
    assert tags["prefect.flow_run_id"]
    assert tags["ray.job_id"]


def progress(place: Path, stage: str) -> set[str]:
    """Files in which the stage keeps what it has done so far."""
    return {os.path.join(folder, name) for folder, _, names in os.walk(place / "scratch" / stage) for name in names}


@pytest.fixture(scope="module")
def cluster(project: Path) -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("PYTHONPATH", str(project))
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        nodes = Nodes(count=2, cpus=3)
        try:
            yield nodes
        finally:
            nodes.close()


@pytest.fixture(scope="module")
def servers(cluster: Nodes) -> Iterator[dict[str, str]]:
    """Prefect and Ray, started once: a run that is killed and the one that goes on share them, as on a machine where they always run."""
    with services.prefect_server() as api:
        services.wait_for(api)
        yield {"PREFECT_API_URL": api, **cluster.env}


def started(project: Path, servers: dict[str, str]) -> subprocess.Popen[str]:
    """A run of its own process group; what it says is to be read from its output."""
    return subprocess.Popen(
        COMMAND,
        cwd=project,
        env=without_servers() | servers,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def begins(running: subprocess.Popen[str], stage: str) -> bool:
    """Read what a run says until it begins the stage; false where it ended without it."""
    assert running.stdout is not None
    return any(f"Running stage '{stage}'" in line for line in running.stdout)


def killed_midway(project: Path, servers: dict[str, str], stage: str, latest_s: float) -> bool:
    """Kill a run so many seconds after the stage began, or once the stage has kept something; whether it was still at work.

    Where it was not, the stage is taken out of the lock again.
    """
    place = project / ".profiles" / "smoke"
    known = progress(place, stage)
    running = started(project, servers)
    assert begins(running, stage)
    latest = time.monotonic() + latest_s
    while time.monotonic() < latest and progress(place, stage) <= known:
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert running.stdout is not None
    running.stdout.close()
    if stage not in made_by(project):
        return True
    forget(project, [stage])
    return False


def forget(project: Path, stages: Iterable[str]) -> None:
    """Have DVC run stages once more."""
    path = project / ".profiles" / "smoke" / "dvc.lock"
    lock = yaml.safe_load(path.read_text())
    for stage in stages:
        del lock["stages"][stage]
    path.write_text(yaml.safe_dump(lock))
    shutil.rmtree(project / ".dvc" / "cache" / "runs", ignore_errors=True)  # or DVC restores a stage instead of running it


def made_by(project: Path, leave_out: tuple[str, ...] = TELL_TIMES) -> dict[str, dict[str, str]]:
    """The hashes of what each stage made, by path."""
    path = project / ".profiles" / "smoke" / "dvc.lock"
    stages = yaml.safe_load(path.read_text())["stages"] if path.is_file() else {}
    return {
        stage: {out["path"]: out["md5"] for out in entry["outs"] if not out["path"].startswith(leave_out)}
        for stage, entry in stages.items()
    }


def seconds(project: Path) -> dict[str, float]:
    return json.loads((project / "metrics" / "smoke" / "run.json").read_text())["stages"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"RAY_ADDRESS": f"127.0.0.1:{free_port()}"}, "no Ray cluster answers"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "the cluster refuses our token"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_told_in_a_line(project: Path, servers: dict[str, str], wrong: dict[str, str], told: str):
    place = project / ".profiles" / "smoke"
    before = (place / "dvc.lock").read_text()
    env = without_servers() | servers | wrong
    stage = subprocess.run([sys.executable, "-m", "flows.ingest"], cwd=place, env=env, capture_output=True, text=True, check=False)
    try:
        forget(project, ["verbalize"])
        whole = repro(project, servers | wrong)
    finally:
        (place / "dvc.lock").write_text(before)
    for done, name in ((stage, "ingest"), (whole, "repro")):
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if "RAY_ADDRESS" in line]
        assert line.startswith(f"{name}: RAY_ADDRESS=")
        assert told in line
        assert "Failed to connect to GCS" not in done.stderr
    assert "Running stage" not in whole.stdout


def test_a_run_that_is_killed_in_each_stage_before_the_report_ends_with_the_same_bytes(project: Path, servers: dict[str, str]):
    before, took = made_by(project), seconds(project)
    assert set(before) == set(SECTIONS)
    assert all(before.values())
    forget(project, SECTIONS)

    for stage in list(SECTIONS)[:-1]:  # each run completes the stage in which the last one was killed, and is killed in the next
        # A third of the time that it took, which other tests may have stretched; where it ended before that, again and earlier.
        assert any(killed_midway(project, servers, stage, took[stage] / 3**attempt) for attempt in (1, 2, 3)), "it ended before each kill"

    done = repro(project, servers)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert made_by(project) == before


def test_a_report_whose_making_is_killed_has_the_same_bytes(project: Path, servers: dict[str, str]):
    before, took, stage = made_by(project, MEASURED), seconds(project), "evaluate"
    forget(project, [stage])

    assert any(killed_midway(project, servers, stage, took[stage] / 3**attempt) for attempt in (1, 2, 3)), "it ended before each kill"

    done = repro(project, servers)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert made_by(project, MEASURED) == before


@pytest.fixture(scope="module")
def apart(project: Path, s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nodes, dict[str, str]]]:
    """Nodes that have the project's code, as by an image, but not its workspace; and what a run on them is told."""
    if not can_hide():
        pytest.skip("this machine lets nobody mount: all nodes would see the workspace")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    handing = s3 | {"BOIG_S3_URL": "s3://boig/smoke", "BOIG_HANDOVER": "s3", "MLFLOW_TRACKING_URI": f"sqlite:///{elsewhere / 'mlflow.db'}"}
    with pytest.MonkeyPatch.context() as patch, services.prefect_server() as api:
        patch.chdir(elsewhere)
        for name, value in {**s3, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
            patch.setenv(name, value)
        nodes = Nodes(count=2, cpus=3, hidden=project)
        try:
            services.wait_for(api)
            yield nodes, handing | nodes.env | {"PREFECT_API_URL": api}
        finally:
            nodes.close()


def test_nodes_that_share_no_files_and_die_cost_time_and_nothing_else(project: Path, apart: tuple[Nodes, dict[str, str]]):
    before, took, stages = made_by(project), seconds(project), ("verbalize", "align_boigsd")
    killed: list[bool] = []
    cluster, told = apart
    assert not cluster.sees(project / "params.yaml")
    forget(project, SECTIONS)
    running = started(project, told)
    for stage in stages:
        assert begins(running, stage)
        time.sleep(took[stage] / 3)
        killed.append(cluster.kill_a_busy_one())
        cluster.mend()
    said, _ = running.communicate()
    assert running.returncode == 0, said[-4000:]
    assert made_by(project) == before
    assert all(killed), "nothing worked on any node"
