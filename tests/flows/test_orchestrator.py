"""Heartbeats of a stage's flow run, on a real Prefect server."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from boig.quiet import QUIET
from flows import services
from infra.deploy import SILENT
from infra.orchestrator import BEAT
from tests.flows.conftest import ROOT
from tests.infra.deployments import ask

STAGE = """
from prefect import flow
from flows.stage import run_stage

@flow(name="simulate", validate_parameters=False)
def simulate(section, report):
    if {fails}:
        raise ValueError("no feed")
    return {{}}

raise SystemExit(run_stage("simulate", simulate))
"""


NEWEST = {"occurred": {"since": "2020-01-01T00:00:00Z"}, "event": {"prefix": ["prefect.flow-run."]}, "order": "DESC"}


def events_of_newest_run(api: str, until: set[str]) -> list[str]:
    """In the order in which they came to be; the server's own are kept at once, those of a run a while after."""
    told: list[str] = []
    end = time.monotonic() + 60
    while not until.issubset(told) and time.monotonic() < end:
        time.sleep(0.2)
        events = ask({"PREFECT_API_URL": api}, "/events/filter", {"filter": NEWEST, "limit": 50})["events"]
        runs = [event["resource"]["prefect.resource.id"] for event in events]
        told = [event["event"] for event, run in zip(events, runs, strict=True) if run == runs[0]][::-1]
    return told


def test_a_run_that_lives_is_not_taken_for_dead():
    assert 2 * int(QUIET["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) < SILENT.total_seconds()


@pytest.mark.slow
def test_a_stage_tells_the_server_that_it_lives_and_no_longer_once_it_has_ended(place: Path, monkeypatch: pytest.MonkeyPatch):
    with services.prefect_server() as api:
        services.wait_for(api)
        monkeypatch.setenv("PREFECT_API_URL", api)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        for fails, end in ((False, "Completed"), (True, "Failed")):
            ended = subprocess.run([sys.executable, "-c", STAGE.format(fails=fails)], capture_output=True, text=True, check=False)
            assert ended.returncode == int(fails), ended.stderr
            told = events_of_newest_run(api, until={BEAT, f"prefect.flow-run.{end}"})
            assert told.count(BEAT) == 1
            assert told.index(BEAT) < told.index(f"prefect.flow-run.{end}")
