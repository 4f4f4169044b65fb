"""The wrapper around `dvc repro`, on a tiny DAG of its own: what ran, how long, signals, and a file that a kill left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from flows import repro
from flows.processes import alone

ROOT = Path(__file__).parents[2]
DAG = """
stages:
  simulate:
    cmd: python step.py simulate {sleep}
    outs: [a.txt]
  ingest:
    cmd: python step.py ingest 0
    deps: [a.txt]
    outs: [b.txt]
"""
STEP = """
import pathlib, sys, time
name, seconds = sys.argv[1], float(sys.argv[2])
pathlib.Path(name + ".pid").write_text(str(__import__("os").getpid()))
time.sleep(seconds)
pathlib.Path({"simulate": "a.txt", "ingest": "b.txt"}[name]).write_text("made")
print(name, "done")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A DVC project with two quick stages."""
    root = tmp_path / "project"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    (root / "dvc.yaml").write_text(DAG.format(sleep=0))
    (root / "step.py").write_text(STEP)
    return root


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_what_dvc_did_with_each_stage_is_known(project: Path, capsys: pytest.CaptureFixture):
    first = repro._dvc(project, environment())
    assert (first.code, first.did) == (0, {"simulate": "ran", "ingest": "ran"})
    assert set(first.seconds) == {"simulate", "ingest"}
    assert "simulate done" in capsys.readouterr().out
    assert repro._up_to_date(project, environment())
    again = repro._dvc(project, environment(), quiet=True)
    assert (again.code, again.did, again.seconds) == (0, {"simulate": "unchanged", "ingest": "unchanged"}, {})
    (project / "dvc.lock").unlink()
    (project / "a.txt").unlink()
    assert not repro._up_to_date(project, environment())
    restored = repro._dvc(project, environment(), quiet=True)
    assert restored.did == {"simulate": "ran", "ingest": "restored"}  # DVC's run cache is for stages with deps


def test_no_stage_after_the_wanted_one_runs(project: Path):
    assert repro._dvc(project, environment(), "simulate", quiet=True).did == {"simulate": "ran"}
    assert repro._up_to_date(project, environment(), "simulate")
    assert not repro._up_to_date(project, environment())


def test_a_failed_stage_fails_the_run(project: Path):
    (project / "step.py").write_text("raise SystemExit(3)")
    outcome = repro._dvc(project, environment(), quiet=True)
    assert outcome.code != 0
    assert "ingest" not in outcome.did


@pytest.mark.parametrize("code", [0, 3])
def test_a_run_that_failed_is_not_published(project: Path, monkeypatch: pytest.MonkeyPatch, code: int):
    (project / "step.py").write_text(STEP + f"raise SystemExit({code})")
    monkeypatch.chdir(project)
    for name in ("PREFECT_API_URL", "RAY_ADDRESS", "BOIG_PROFILE"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setattr("flows.services.wait_for", lambda url: None)
    monkeypatch.setattr("boig.gcs.look", lambda address: None)
    published: list[Path] = []
    monkeypatch.setattr(repro, "_upload", lambda place, profile: published.append(place))
    (project / "metrics").mkdir()
    assert bool(repro._reproduce(project, project, "", pull=False)) == bool(code)
    assert published == [project] * (code == 0)


HOLDS = """
import fcntl, time
with open(".dvc/tmp/lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(float(__import__("sys").argv[1]))
"""
"""Another DVC at work in the folder."""


def test_another_dvc_at_work_in_the_folder_is_waited_for(project: Path):
    (project / ".dvc/tmp").mkdir()
    longer_than_dvc_tries = "5"
    with subprocess.Popen([sys.executable, "-c", HOLDS, longer_than_dvc_tries], cwd=project, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        assert repro._dvc(project, environment(), quiet=True).did == {"simulate": "ran", "ingest": "ran"}


def test_a_killed_dvcs_lock_is_not_waited_for(project: Path):
    (project / ".dvc/tmp").mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLDS, "600"], cwd=project, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        other.kill()
    assert (project / ".dvc/tmp/lock").exists()
    assert repro._dvc(project, environment(), quiet=True).code == 0


def test_a_lock_that_a_killed_dvc_left_empty_or_cut_off_is_repaired(project: Path, monkeypatch: pytest.MonkeyPatch):
    lock = project / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir()
    lock.write_text("")
    shutil.copy(ROOT / "params.yaml", project / "params.yaml")
    assert repro._prepare(project, "") == project
    assert not lock.exists()
    lock.write_text('{"read": {"a.txt": [{"pi')
    repro._prepare(project, "")
    assert not lock.exists()
    lock.write_text('{"read": {}}')
    repro._prepare(project, "")
    assert lock.exists()


def test_a_lock_file_that_a_killed_dvc_has_cut_off_is_made_anew(project: Path, monkeypatch: pytest.MonkeyPatch):
    """DVC refuses one that is empty or cut off inside of an entry."""
    shutil.copy(ROOT / "params.yaml", project / "params.yaml")
    assert repro._dvc(project, environment(), quiet=True).code == 0
    whole = (project / "dvc.lock").read_text()
    for length in range(0, len(whole), 7):
        (project / "dvc.lock").write_text(whole[:length])
        repro._prepare(project, "")
        if length % 49 == 0:  # each takes DVC a second
            assert repro._dvc(project, environment(), quiet=True).code == 0, whole[:length]
            assert (project / "dvc.lock").read_text() == whole
    (project / "dvc.lock").write_text(whole)
    repro._prepare(project, "")
    assert (project / "dvc.lock").read_text() == whole


def test_a_signal_reaches_the_whole_group(project: Path):
    """SIGTERM to the wrapper ends DVC and the stage: no orphan lives on."""
    (project / "dvc.yaml").write_text(DAG.format(sleep=120))
    script = textwrap.dedent(
        f"""
        import os, sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from flows.repro import _dvc
        raise SystemExit(_dvc(Path({str(project)!r}), dict(os.environ), quiet=True).code)
        """
    )
    wrapper = subprocess.Popen([sys.executable, "-c", script], env=environment())
    pid_file = project / "simulate.pid"
    wait_until(lambda: pid_file.is_file() and pid_file.read_text())
    stage = int(pid_file.read_text())
    wrapper.send_signal(signal.SIGTERM)
    assert wrapper.wait(timeout=60) != 0
    wait_until(lambda: not Path(f"/proc/{stage}").exists())
    assert not (project / "a.txt").exists()


def wait_until(true, timeout_s: float = 120) -> None:
    """Poll."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.1)


def outcome(**did: str) -> repro.Outcome:
    return repro.Outcome(0, 12.34, did, {stage: 1.0 for stage, what in did.items() if what == "ran"})


def test_the_numbers_of_a_whole_run_are_not_replaced_by_a_part(tmp_path: Path):
    (tmp_path / "dvc.yaml").write_text(DAG)
    path = tmp_path / "metrics" / "run.json"
    repro._write_numbers(tmp_path, outcome(simulate="ran", ingest="ran"), 3_000_000_000, noop_s=1.5)
    whole = json.loads(path.read_text())
    assert whole["wall_s"] == 12.3
    assert whole["peak_rss_gb"] == 3.0
    assert whole["noop_s"] == 1.5
    assert whole["stages"] == {"simulate": 1.0, "ingest": 1.0}
    for part in (outcome(simulate="unchanged", ingest="ran"), outcome(simulate="ran")):
        repro._write_numbers(tmp_path, part, 1, noop_s=1.0)
        assert json.loads(path.read_text()) == whole


def test_profiles_share_the_roots_tracking_and_see_their_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    env = repro._environment(tmp_path, tmp_path / ".profiles" / "x", "x")
    assert env["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert env["PYTHONPATH"] == str(tmp_path / ".profiles" / "x")
    assert env["BOIG_PROFILE"] == "x"
    assert env["PATH"].startswith(str(Path(sys.executable).parent))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    assert repro._environment(tmp_path, tmp_path, "")["MLFLOW_TRACKING_URI"] == "http://tracking"


@pytest.mark.slow
def test_two_runs_in_one_workspace_wait_for_each_other(project: Path):
    shutil.copy(ROOT / "params.yaml", project)
    assert repro._dvc(project, environment(), quiet=True).code == 0
    with alone(project / ".dvc" / "tmp" / "repro.lock", ""):
        other = subprocess.Popen(
            [sys.executable, "-m", "flows.repro"],
            cwd=project,
            env=environment() | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert other.stderr.readline() == f"repro: another run of the default works in {project}; waiting for it\n"
        assert other.poll() is None
    out, _ = other.communicate(timeout=120)
    assert other.returncode == 0
    assert "Stage 'ingest' didn't change" in out
