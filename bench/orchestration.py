"""What a stage costs beside its own work: seven stages that do nothing, run as the pipeline runs its own.

    make stack && . .stack/env && python -m bench.orchestration      # minutes on two cores; writes bench/results/orchestration.json

Each stage is what every stage is: DVC runs it, it loads its section, opens its MLflow run, calls a Prefect flow, which sends a row through
an actor on Ray, and writes its metrics. The servers are those of the environment. What a stage's own libraries take to be imported is left
out: these have none. The peer is DVC alone: the same DAG of programs that write their file and end.

Where the servers are those of the local stack, it is stopped and started first, without the system's file caches where the system lets us
drop them (root), and its memory is read before the first run; last of all each of its parts is killed.
"""

import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OUT = Path("bench/results/orchestration.json")
ROOT = Path(__file__).parents[1]
WANTED = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
RUNS = 3
AWAY_S = 120.0
"""After which a part that was killed is given up."""


class Nothing:
    """A Ray worker that gives rows back."""

    def __call__(self, rows: list[dict]) -> list[dict]:
        return rows


def stage(name: str) -> int:
    """One stage, in the process that DVC has started; the exit code. At its top this file imports only what a stage does."""
    from prefect import flow

    from flows.on_ray import map_batches
    from flows.stage import run_stage

    @flow(name=name, validate_parameters=False)
    def idle(section, report) -> dict:
        rows = map_batches([{"row": 1}], Nothing, {}, batch_size=1, workers=1, cpus_per_worker=1, label=name)
        return {"rows": len(rows)}

    return run_stage(name, idle)


def project(folder: Path, command: str) -> None:
    """A DVC project whose stages follow each other, as the pipeline's do."""
    import yaml

    from boig.params import SECTIONS

    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for name in ("bench", "boig", "flows", "infra"):  # Ray's workers look for code where the stage runs
        (folder / name).symlink_to(ROOT / name)
    stages: dict[str, dict] = {}
    before: list[str] = []
    for name in SECTIONS:
        made = f"metrics/{name}.json"
        stages[name] = {"cmd": f"{command} {name}", "deps": before, "metrics": [{made: {"cache": False}}]}
        before = [made]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)


def seconds(folder: Path) -> float:
    """Wall time of `dvc repro`."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    return time.perf_counter() - begun


def timed(command: str) -> tuple[list[float], float]:
    """Seconds of each of `RUNS` whole runs, and of a run with nothing to do."""
    whole = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "metrics").mkdir()
            project(folder, command)
            whole.append(seconds(folder))
            idle = seconds(folder)
    return whole, idle


def local():
    """Settings of the local stack; None where the environment's servers are others'."""
    from infra.stack import settings, supervisor

    stack = settings.load()
    ours = os.environ["MLFLOW_TRACKING_URI"] == stack.url("mlflow") and os.environ["PREFECT_API_URL"] == f"{stack.url('prefect')}/api"
    return stack if ours and supervisor.running(stack) else None


def idle_mb(stack) -> int:
    """Resident memory of the local stack, pages that processes share counted for each."""
    from infra.stack import keys, launch, services, supervisor

    parts = services.services(stack, keys.ensure(stack.folder))
    processes = [process for name in parts for process in launch.processes(stack, name)] + supervisor.own(stack)
    return round(launch.resident(processes) / 1e6)


def uncached() -> bool:
    """Drop the system's file caches; whether it let us."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def starts() -> tuple[list[float], bool]:
    """Seconds of each of `RUNS` starts of the local stack, from the command to all parts well; whether all were without file caches."""
    whole, cold = [], True
    for _ in range(RUNS):
        subprocess.run([sys.executable, "-m", "infra.stack", "down"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        cold &= uncached()
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "infra.stack", "up"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        whole.append(time.perf_counter() - begun)
    return whole, cold


def returns(stack) -> dict[str, list[float]]:
    """By part of the local stack, seconds from SIGKILL of the process that supervisord watches until it is well again, `RUNS` times."""
    from infra.stack import keys, services, supervisor

    found: dict[str, list[float]] = {}
    for name, part in services.services(stack, keys.ensure(stack.folder)).items():
        found[name] = []
        for _ in range(RUNS):
            killed = supervisor.states(stack)[name]["pid"]
            begun = time.perf_counter()
            os.kill(killed, signal.SIGKILL)
            while (state := supervisor.states(stack)[name])["pid"] == killed or not supervisor.is_well(part, state):
                if time.perf_counter() - begun > AWAY_S:
                    raise ConnectionError(f"{name} is not back {AWAY_S:.0f} s after it was killed; see {stack.logs / f'{name}.log'}")
                time.sleep(0.05)
            found[name].append(round(time.perf_counter() - begun, 1))
    return found


def main() -> int:
    """Measure all; the exit code."""
    if missing := [name for name in WANTED if not os.environ.get(name)]:
        print(f"bench: {', '.join(missing)} not set; `make stack` and `. .stack/env`", file=sys.stderr)
        return 1
    stack = local()
    up, cold = starts() if stack else (None, None)
    idle = idle_mb(stack) if stack else None
    ours, noop = timed(f"{sys.executable} -m bench.orchestration stage")
    script = "import pathlib, sys; pathlib.Path('metrics', sys.argv[1] + '.json').write_text('{}')"
    peer, _ = timed(f'{sys.executable} -c "{script}"')
    back = returns(stack) if stack else None
    from boig.params import SECTIONS

    count = len(SECTIONS)
    result = {
        "seconds_per_stage": round(statistics.median(ours) / count, 2),
        "seconds_per_stage_dvc_alone": round(statistics.median(peer) / count, 2),
        "noop_s": round(noop, 2),
        "idle_stack_mb": idle,
        "up_s": up and [round(value, 1) for value in up],
        "up_cold": cold,
        "back_s": back,
        "runs_s": [round(value, 1) for value in ours],
        "runs_dvc_alone_s": [round(value, 1) for value in peer],
        "stages": count,
        "peak_rss_mb_of_a_process": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(stage(sys.argv[2]) if sys.argv[1:2] == ["stage"] else main())
