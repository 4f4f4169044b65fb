"""What goes wrong in a retraining: at which point of its work, by whose hand, and what whoever looks then is told."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.world import MORE, Running, World

KILLED = ""
"""Nothing is told: the process is gone. The orchestrator finds that out by the heartbeat that stops."""
AS_NEW = r"version \d+ is the champion"
GONE = "MLFLOW_TRACKING_URI=.* does not answer"
NO_S3 = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}

Act = Callable[[World, Running], None]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    act: Act
    """Done while the retraining is held at its point; lets it go on where it is to go on."""
    point: str = ""
    """Where it is held; empty: nowhere."""
    told: str = KILLED
    """What its last line matches."""
    before: Callable[[World], None] = lambda world: None
    """Done before it is started."""
    after: Callable[[World], None] = lambda world: None
    """Done before the next retraining is to put all right."""
    env: tuple[tuple[str, str], ...] = ()
    """Of the retraining that goes wrong."""
    champion: str = "new"
    """Which generation is in use once all is right: a new one, or the one before."""


def kill(_: World, running: Running) -> None:
    running.signal(signal.SIGKILL)


def kill_all(_: World, running: Running) -> None:
    running.signal(signal.SIGKILL, group=True)


def kill_soon(_: World, running: Running) -> None:
    running.go()
    time.sleep(1.5)  # in the middle of `dvc push`
    running.signal(signal.SIGKILL)


def terminate(_: World, running: Running) -> None:
    running.signal(signal.SIGTERM)
    running.go()


def interrupt(_: World, running: Running) -> None:
    running.signal(signal.SIGINT, group=True)
    running.go()


def out_of_memory(_: World, running: Running) -> None:
    subprocess.run(["kill", "-9", str(running.reached())], check=True)


def no_s3(world: World, running: Running) -> None:
    world.s3.kill()
    running.go()


def s3_for_a_moment(world: World, running: Running) -> None:
    world.s3.kill()
    running.go()
    time.sleep(15)
    world.s3.up()


def no_mlflow(world: World, running: Running) -> None:
    world.mlflow.kill()
    running.go()


def mlflow_restarts(world: World, running: Running) -> None:
    world.mlflow.kill()
    running.go()
    world.mlflow.up()


def prefect_restarts(world: World, running: Running) -> None:
    world.prefect.kill()
    running.go()
    world.prefect.up()


def fill_disk(world: World, running: Running) -> None:
    """Leave no byte where the worktree is."""
    with (world.project / ".retrain" / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
    running.go()


def small_disk(world: World) -> None:
    (world.project / ".retrain").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(world.project / ".retrain")], check=True)


def free_disk(world: World) -> None:
    (world.project / ".retrain" / "filler").unlink()


def kill_and(do: Callable[[Path], None]) -> Act:
    """Kill everything, and leave something in the worktree behind."""

    def act(world: World, running: Running) -> None:
        kill_all(world, running)
        running.process.wait()
        do(world.worktree())

    return act


def empty_lock(place: Path) -> None:
    (place / ".dvc/tmp").mkdir(parents=True, exist_ok=True)
    (place / ".dvc/tmp/rwlock").write_text("")


def dead_lock(place: Path) -> None:
    (place / ".dvc/tmp").mkdir(parents=True, exist_ok=True)
    owner = {"pid": 2**22 - 1, "cmd": "dvc repro"}
    (place / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {str(place / "models/boigllm"): owner}, "read": {}}))


def index_lock(place: Path) -> None:
    folder = Path((place / ".git").read_text().partition(":")[2].strip())
    (folder / "index.lock").touch()


def half_worktree(place: Path) -> None:
    (place / ".git").unlink()


def twice(world: World, running: Running) -> None:
    """A second trigger while the first one's retraining works: it waits, and then there is nothing left to do."""
    second = world.start()
    second.says("another retraining is at work in")
    running.go()
    ended = second.end()
    assert ended.code == 0, ended.log
    assert "nothing new: 0 posts since version" in ended.said, ended.log


def again(world: World, running: Running) -> None:
    """A second trigger once the first one's retraining is over."""
    assert running.end().code == 0
    second = world.retrain()
    assert second.code == 0, second.log
    assert "nothing new: 0 posts since version" in second.said, second.log


def roll_back(world: World, running: Running) -> None:
    world.registry().rollback()
    running.go()


def corrupt_cache(world: World) -> None:
    """Other bytes in each cached file of the champion's."""
    for path in (world.project / ".dvc/cache/files").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:-1] + b"?")


def no_cache(world: World) -> None:
    shutil.rmtree(world.project / ".dvc/cache")


def half_line(world: World) -> None:
    with world.feed.open("a") as stream:
        stream.write('999999,brand0,2022-13-45T00:00:00+00:00,"a pic')


def whole_again(world: World) -> None:
    text = world.feed.read_text()
    world.feed.write_text(text[: text.rindex("\n") + 1])


def hide_feed(world: World) -> None:
    world.feed.rename(world.folder / "hidden.csv")


def show_feed(world: World) -> None:
    (world.folder / "hidden.csv").rename(world.feed)


def poison(world: World) -> None:
    text = world.feed.read_text().splitlines(keepends=True)
    world.feed.write_text("".join(text[:-5]) + "".join(line.replace("A bag by the sea", "A bag #poison") for line in text[-5:]))


def unpoison(world: World) -> None:
    world.feed.write_text(world.feed.read_text().replace("#poison", "by the sea"))
    world.land(MORE)


def no_remote(world: World) -> None:
    world.remote.rename(world.away)


def nothing(_: World, __: Running) -> None:
    pass


KILLS = {
    "before the worktree has its parameters": "before flows.worktree.settle",
    "before the champion is restored": "before flows.worktree.restore",
    "in stage ingest": "stage ingest",
    "in stage train_boigllm": "stage train_boigllm",
    "in stage evaluate": "stage evaluate",
    "before dvc push": "before flows.worktree.dvc 2",
    "before the commit": "before flows.worktree.commit",
    "after the commit": "after flows.worktree.commit",
    "before the gate": "before tasks.retrain.compare",
    "before registration": "before boig.registry.Registry.register",
    "after registration": "after boig.registry.Registry.register",
    "before promotion": "before boig.registry.Registry.promote",
    "after promotion": "after boig.registry.Registry.promote",
    "before the worktree is removed": "before flows.worktree.remove",
}
FAULTS = (
    *(Fault(f"kill -9 {where}", kill, point) for where, point in KILLS.items()),
    Fault("kill -9 during dvc push", kill_soon, "before flows.worktree.dvc 2"),
    Fault("kill -9 of all processes in stage train_reward", kill_all, "stage train_reward"),
    Fault("SIGTERM in stage train_boigllm", terminate, "stage train_boigllm"),
    Fault("Ctrl-C in stage train_boigllm", interrupt, "stage train_boigllm"),
    Fault("a stage is killed for memory", out_of_memory, "stage align_boigsd", told="the pipeline ended with"),
    Fault("S3 down for a moment at push", s3_for_a_moment, "before flows.worktree.dvc 2", told=AS_NEW),
    Fault("S3 down at push", no_s3, "before flows.worktree.dvc 2", told="dvc push: "),
    Fault("S3 down, and no cache", no_s3, "before flows.worktree.restore", before=no_cache, told="models of commit .* dvc pull"),
    Fault("wrong S3 keys", nothing, env=(("AWS_SECRET_ACCESS_KEY", "wrong"),), told="dvc pu"),
    Fault("no such bucket", nothing, env=(("BOIG_DVC_URL", "s3://nowhere/cache"),), told="dvc pu"),
    Fault("Git's remote is away", nothing, before=no_remote, told="git push: .*push_to: origin"),
    Fault("MLflow down at the start", nothing, before=lambda world: world.mlflow.kill(), told=GONE),
    Fault("MLflow down at registration", no_mlflow, "before boig.registry.Registry.register", told=GONE),
    Fault("MLflow down at promotion", no_mlflow, "before boig.registry.Registry.promote", told=GONE),
    Fault("MLflow restarts in stage train_boigllm", mlflow_restarts, "stage train_boigllm", told=AS_NEW),
    Fault("Prefect restarts in stage train_boigllm", prefect_restarts, "stage train_boigllm", told=AS_NEW),
    Fault("disk full in stage train_boigllm", fill_disk, "stage train_boigllm", before=small_disk, after=free_disk, told="No space left"),
    Fault("DVC's lock left behind, empty", kill_and(empty_lock), "stage train_boigllm"),
    Fault("DVC's lock left behind, of a dead process", kill_and(dead_lock), "stage train_boigllm"),
    Fault("Git's lock left behind", kill_and(index_lock), "stage train_boigllm"),
    Fault("half a worktree left behind", kill_and(half_worktree), "stage train_boigllm"),
    Fault("two triggers at once", twice, "stage train_boigllm", told=AS_NEW),
    Fault("two triggers after each other", again, told=AS_NEW),
    Fault("a person rolls back meanwhile", roll_back, "before boig.registry.Registry.register", told="retrain again"),
    Fault("the cache has other bytes", nothing, before=corrupt_cache, told=AS_NEW),
    Fault("the cache is gone", nothing, before=no_cache, told=AS_NEW),
    Fault("the feed ends in half a line", nothing, before=half_line, after=whole_again, told="is not a CSV table: .*EOF inside string"),
    Fault("the feed is gone", nothing, before=hide_feed, after=show_feed, told="does not exist"),
    Fault("poisoned posts", nothing, before=poison, after=unpoison, told="stays a challenger: canary: poisoned"),
)  # fmt: skip
