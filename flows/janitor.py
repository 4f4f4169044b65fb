"""What nobody else clears away: runs that wait for a process that never came, and worktrees of retrainings that nobody comes back to.

A run stuck in PENDING holds the one place that retraining has. Runs whose process died while it worked are left to the automation of
`infra/deploy`, which knows them by the heartbeat that stops.
"""

import time
from datetime import datetime, timedelta
from pathlib import Path

from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.runtime import flow_run
from prefect.states import Completed, Crashed, State

from flows import worktree


@flow(name="janitor")
def janitor(pending_minutes: int, worktree_days: int) -> State:
    """Clear away; says what.

    Args:
        pending_minutes: that a run may wait for its process.
        worktree_days: that a worktree is kept for a retraining to go on in.
    """
    runs, places = free(timedelta(minutes=pending_minutes)), clear(Path.cwd(), timedelta(days=worktree_days))
    return Completed(message=f"runs that never started: {runs}; worktrees: {places}")


def free(after: timedelta) -> int:
    """Mark runs as crashed that have been PENDING for longer when the janitor began; how many.

    Both times are stamps of the server: the clock of the machine that asks may be off.
    """
    stuck = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])))
    with get_client(sync_client=True) as client:
        begun = _entered(client.read_flow_run(flow_run.id))
        runs = [run for run in client.read_flow_runs(flow_run_filter=stuck) if begun - _entered(run) >= after]
        for run in runs:
            told = f"no process took it up within {after}; is a worker running? `make doctor`"
            client.set_flow_run_state(run.id, Crashed(message=told), force=True)
    return len(runs)


def clear(root: Path, after: timedelta) -> int:
    """Remove worktrees that nobody works in and that have not changed for longer; how many."""
    return len(worktree.clear(root, lambda place: time.time() - _touched(place) > after.total_seconds()))


def _entered(run: FlowRun) -> datetime:
    """When a run came into the state it is in."""
    assert run.state is not None
    return run.state.timestamp


def _touched(place: Path) -> float:
    """When something in it was last written."""
    return max((path.lstat().st_mtime for path in place.rglob("*")), default=place.stat().st_mtime)
