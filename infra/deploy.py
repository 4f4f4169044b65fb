"""`python -m infra.deploy` (`make deploy`): register what `infra/prefect.yaml` names with the Prefect server, and a watch over its runs."""

import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from prefect import get_client
from prefect.automations import Automation
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists

from infra.orchestrator import BEAT, reaching_prefect

FILE = Path(__file__).with_name("prefect.yaml")
ZOMBIES = "boig: runs whose process is gone"
SILENT = timedelta(seconds=120)
"""Without a heartbeat; the worker's environment asks for one every 30 seconds."""
ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}


def main() -> int:
    """Deploy; the exit code."""
    root = Path.cwd()
    try:
        with reaching_prefect():
            deploy(root, os.environ.get("BOIG_WORK_POOL", "boig"))
            watch()
    except (ConnectionError, ValueError) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    place = os.environ["PREFECT_API_URL"].removesuffix("/api")
    print(f"deploy: retrain, land and janitor of commit {commit(root)[:12]}; runs are at {place}")
    return 0


def deploy(root: Path, work_pool: str) -> None:
    """Register the deployments for a checkout.

    Raises:
        ConnectionError: no server is named, or it refuses.
        ValueError: the checkout has changes that are not committed: what runs by itself is a commit.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise ConnectionError("PREFECT_API_URL is not set; start the stack (`make stack`) and `. .stack/env`")
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        raise ValueError("the checkout has changes that are not committed; a retraining works on a commit, so commit them first")
    _ensure_pool(work_pool)
    env = os.environ | {"BOIG_ROOT": str(root), "BOIG_COMMIT": commit(root), "BOIG_WORK_POOL": work_pool, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(FILE)]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConnectionError(f"prefect deploy: {' '.join((done.stdout + done.stderr).split())[-400:]}")


def _ensure_pool(name: str) -> None:
    """Make the pool that a worker takes runs from; the worker would, but it may not be up yet."""
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))


def watch() -> None:
    """The automation that marks runs as crashed whose process is gone: a kill leaves them RUNNING for ever, and their place taken."""
    with suppress(ValueError):  # there is none yet
        Automation.read(name=ZOMBIES).delete()
    trigger = EventTrigger(
        after={BEAT},
        expect={BEAT, *ENDS},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENT,
    )
    told = f"its process is gone: no heartbeat for {SILENT.seconds} seconds"
    Automation(name=ZOMBIES, trigger=trigger, actions=[ChangeFlowRunState(state=StateType.CRASHED, message=told)]).create()


def commit(root: Path) -> str:
    """The checkout's."""
    return _git(root, "rev-parse", "HEAD")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
