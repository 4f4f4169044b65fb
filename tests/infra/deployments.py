"""Hands on the Prefect of a stack: what is deployed there, and how it ran."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from tests.infra.stack import BACK_S


def ask(env: dict[str, str], path: str, body: dict | None = None) -> list | dict:
    """An answer of a Prefect API. A server whose SQLite is busy says 503; Prefect's own client tries again too."""
    user, _, password = env.get("PREFECT_API_AUTH_STRING", "").partition(":")
    busy = retry_if_result(lambda answer: answer.status_code == httpx.codes.SERVICE_UNAVAILABLE)
    again = Retrying(retry=busy, wait=wait_fixed(2), stop=stop_after_delay(BACK_S))
    answer = again(httpx.post, f"{env['PREFECT_API_URL']}{path}", json=body or {}, auth=(user, password) if user else None, timeout=30)
    answer.raise_for_status()
    return answer.json()


def deployment(env: dict[str, str], name: str) -> str:
    """Its id."""
    (found,) = ask(env, "/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
    return found["id"]


def started(env: dict[str, str], name: str) -> dict:
    """A run of a deployment that we start, once it has ended."""
    return ended(env, {"id": {"any_": [ask(env, f"/deployments/{deployment(env, name)}/create_flow_run")["id"]]}})


def ended(env: dict[str, str], which: dict) -> dict:
    """The one run that a filter finds, once it has ended."""
    end, runs = time.monotonic() + BACK_S, []
    while time.monotonic() < end:
        runs = ask(env, "/flow_runs/filter", {"flow_runs": which})
        if runs and runs[0]["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            (run,) = runs
            return run
        time.sleep(1)
    pytest.fail(f"{which}: {[(run['state_type'], run['state']['message']) for run in runs]}")


def deploy(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess:
    """`python -m infra.deploy` in a checkout."""
    command = [sys.executable, "-m", "infra.deploy"]
    return subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False)
