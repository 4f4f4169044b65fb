"""One fault after the other, and after each: the champion is right, the next retraining puts all right, nothing is lost."""

import re
import time

from boig.registry import FEED_POSTS
from tests.faults.catalog import KILLED, Fault
from tests.faults.world import MORE, World

ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
SILENT_S = 240
"""A dead run is found by the heartbeat that has stopped for two minutes."""


def suffer(world: World, fault: Fault) -> str:
    """Let a fault happen, look at what it leaves, and put all right; what the retraining that went wrong has told.

    Raises:
        AssertionError: the champion is wrong, something is lost, or nobody is told clearly.
    """
    try:
        return _suffer(world, fault)
    finally:
        world.free_disk()
        world.repair()  # the next fault has a world of its own, also after one that was not survived


def _suffer(world: World, fault: Fault) -> str:
    world.land(MORE)
    before = world.champion()
    fault.before(world)
    running = world.start(fault.point, **dict(fault.env))
    if fault.point:
        running.reached()
    fault.act(world, running)
    ended = running.end()
    if fault.told == KILLED:
        assert ended.code != 0, f"{fault.name}: it has come to its end all the same"
    else:
        assert re.search(fault.told, ended.said), f"{fault.name}: {ended.log[-3000:]}"
    if ended.code > 0:
        assert ended.said.startswith("retrain: "), f"{fault.name}: its last line is {ended.said!r}"

    world.repair()
    known = world.champion()
    assert known.number >= before.number or "rolls back" in fault.name, f"{fault.name}: the champion went back"
    fault.after(world)
    healed = world.retrain()
    assert healed.code == 0, f"{fault.name}: the next retraining: {healed.log[-3000:]}"
    champion = world.champion()
    assert champion.number > before.number or "rolls back" in fault.name, f"{fault.name}: {healed.said}"
    assert int(champion.tags[FEED_POSTS]) == world.posts(), f"{fault.name}: the champion has not seen all posts"
    assert not (left := world.recording()), f"{fault.name}: MLflow still calls {left} running"
    _clear(world)
    return ended.said if fault.told != KILLED else "killed"


def _clear(world: World) -> None:
    """Nothing of a worktree is left, and the project is as its owner left it."""
    folder = world.project / ".retrain"
    left = [path.name for path in folder.iterdir() if path.is_dir()]
    assert not left, f"worktrees {left} are left"


def unended(world: World) -> list[str]:
    """Runs that the orchestrator has no clear end of, after the time that it takes to find out."""
    end = time.monotonic() + SILENT_S
    while (left := [run["name"] for run in world.flow_runs() if run["state_type"] not in ENDS]) and time.monotonic() < end:
        time.sleep(2)
    return left
