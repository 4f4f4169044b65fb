"""A killed pipeline leaves no stage behind that works beside the next one's."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.processes import alone
from flows.stage import run_stage
from tests.flows.conftest import ROOT
from tests.flows.test_stage import InProcess

STAGE = """
import sys
from pathlib import Path
from flows.stage import run_stage
from tests.flows.test_stage import InProcess

def answer(section, report):
    Path("worked").write_text("beside" if Path("busy").exists() else "alone")
    return {}

code = run_stage("simulate", InProcess(answer))
Path("code").write_text(str(code))
"""
"""A stage that says how it ended, and whether another one worked beside it."""
BEREAVED = """
import os, time
from pathlib import Path
from flows.processes import PARENT
Path("begun").touch()
while os.getppid() == PARENT:
    time.sleep(0.01)
"""
"""Imports that take until the parent is gone."""
PARENT = """
import subprocess, sys, time
from pathlib import Path
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
while not Path("begun").exists():
    time.sleep(0.01)
"""


def run(script: str, *arguments: str, **options) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], text=True, **options)


@pytest.fixture
def beside_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_a_stage_whose_dvc_ended_while_it_imported_does_no_work(place: Path, beside_tests, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DVC_STAGE", "simulate")
    parent = run(PARENT, BEREAVED + STAGE, stderr=subprocess.PIPE)
    assert parent.stderr is not None
    said = parent.stderr.read()  # to its end: the stage has it too
    assert parent.wait() == 0, said
    assert said.strip() == "simulate: interrupted"
    assert (place / "code").read_text() == "130"
    assert not (place / "worked").exists()


def test_a_stage_waits_for_the_end_of_another_that_still_works_in_its_folder(place: Path, beside_tests):
    (place / "busy").touch()
    with alone(place / "scratch" / "simulate.lock", ""):
        second = run(STAGE, stderr=subprocess.PIPE)
        assert second.stderr is not None
        assert second.stderr.readline() == "simulate: another process still works on it here; waiting for its end\n"
        (place / "busy").unlink()
    assert second.wait() == 0, second.stderr.read()
    assert (place / "worked").read_text() == "alone"


def test_a_lock_ends_with_its_process(tmp_path: Path, beside_tests, capfd: pytest.CaptureFixture):
    holds = "import os; from pathlib import Path; from flows.processes import alone\nwith alone(Path('lock'), ''): os.kill(os.getpid(), 9)"
    assert run(holds, cwd=tmp_path).wait() == -9
    with alone(tmp_path / "lock", "waits"):
        assert "waits" not in capfd.readouterr().err


def test_a_folder_in_which_no_lock_can_be_is_told_in_a_line(place: Path, capsys: pytest.CaptureFixture):
    (place / "scratch").write_text("a file")
    assert run_stage("simulate", InProcess(lambda *_: pytest.fail("worked"))) == 1
    said = capsys.readouterr().err
    assert said.startswith("simulate: ")
    assert "scratch" in said
    assert said.count("\n") == 1
