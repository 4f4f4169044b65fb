"""Look for new posts: stage ingest by the clock, deployed from `infra/prefect.yaml`. What it finds may trigger a retraining."""

import subprocess
import sys
from pathlib import Path

from prefect import flow
from prefect.runtime import deployment
from prefect.states import Completed, State

from flows.retrain import current


@flow(name="land")
def land(profile: str) -> State:
    """Run the pipeline up to ingest, in the checkout itself.

    Args:
        profile: a name of `profiles/`, or nothing.

    Raises:
        RuntimeError: it failed.
    """
    current(Path.cwd(), deployment.version)
    command = [sys.executable, "-m", "flows.repro", "--stage", "ingest", *(["--profile", profile] if profile else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    said = [line.strip() for line in done.stdout.splitlines() if line.startswith("ingest:")]
    if done.returncode:
        raise RuntimeError(f"ingest ended with {done.returncode}: {said[-1] if said else done.stdout.strip()[-200:]}")
    return Completed(message=said[-1] if said else "nothing new")
