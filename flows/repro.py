"""The pipeline: `python -m flows.repro [--profile x] [--stage y]` (or `make repro [PROFILE=x] [STAGE=y]`) around `dvc repro`.

DVC alone decides what runs. This adds what one run of the pipeline shares: the parent MLflow run, one Prefect server and one Ray head
instead of one per stage, signals to the whole process group, `metrics/run.json`, and for a profile its own workspace. Plain `dvc repro`
works too.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from boig.params import SECTIONS, load, read
from flows import workspace
from flows.processes import alone, die_with_parent
from flows.stage import USER_MISTAKES, write_json

GRACE_S = 20.0
"""What a stage gets between a signal and the kill."""
SAYS = {
    "ran": re.compile(r"Running stage '(\w+)'"),
    "restored": re.compile(r"Stage '(\w+)' is cached"),
    "unchanged": re.compile(r"Stage '(\w+)' didn't change"),
}
"""What DVC prints about a stage."""


@dataclass
class Outcome:
    """What one `dvc repro` did."""

    code: int = 0
    wall_s: float = 0.0
    did: dict[str, str] = field(default_factory=dict)
    """Stage to `ran`, `restored` or `unchanged`, in order."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of the stages that ran."""


def main(arguments: list[str] | None = None) -> int:
    """Run the pipeline; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.repro", description="The pipeline, from raw posts to the report.")
    parser.add_argument("--profile", default="", help="a name of profiles/; without it the default of params.yaml")
    parser.add_argument("--stage", default="", choices=SECTIONS, metavar="stage", help="the last stage to run; without it all are run")
    parser.add_argument("--pull", action="store_true", help="take what is missing here, and stages that ran elsewhere, from the remote")
    asked = parser.parse_args(arguments)
    root = Path.cwd()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is ended
    try:
        _check(root, asked.profile)
        # Two of one profile would run code that the other is about to replace.
        waiting = f"repro: another run of {asked.profile or 'the default'} works in {root}; waiting for it"
        with alone(root / ".dvc" / "tmp" / f"repro{asked.profile and '-'}{asked.profile}.lock", waiting):
            place = _prepare(root, asked.profile)
            return _reproduce(root, place, asked.profile, *([asked.stage] if asked.stage else []), pull=asked.pull)
    except KeyboardInterrupt:
        return 130
    except USER_MISTAKES as error:
        print(f"repro: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _check(root: Path, profile: str) -> None:
    """Parameters, before anything is started or waited for.

    Raises:
        ValueError: a wrong profile or a wrong parameter.
        FileNotFoundError: not the project's root, or a feed that does not exist.
    """
    if not (root / "dvc.yaml").is_file():
        raise FileNotFoundError(f"{root} has no dvc.yaml; run from the project's root")
    if profile:
        workspace.overlay(root, profile)
        return
    for section in SECTIONS:
        load(section, root / "params.yaml")
    feed = read(root / "params.yaml")["ingest"]["feed"]
    if feed != workspace.SIMULATED and not (root / feed).exists():
        raise FileNotFoundError(f"ingest.feed: {feed} does not exist; put the feed there or name another folder")


def _prepare(root: Path, profile: str) -> Path:
    """Where the run happens; a profile's workspace is brought up to date, which nobody else may work in.

    Raises:
        ValueError: a wrong parameter of the profile.
        FileNotFoundError: its feed does not exist.
    """
    place = workspace.prepare(root, profile) if profile else root
    workspace.mend(place)
    return place


def _reproduce(root: Path, place: Path, profile: str, *targets: str, pull: bool) -> int:
    """`dvc repro` of the targets, or of all stages, with everything around it."""
    env = _environment(root, place, profile)
    if _up_to_date(place, env, *targets):
        return _dvc(place, env, *targets).code
    if env.get("RAY_ADDRESS"):  # said now, not by a stage after hours of others
        from boig.gcs import look  # with Ray, which must not be imported before a head of this run's own has set its token

        look(env["RAY_ADDRESS"])
    from boig import tracking
    from flows import lineage, services

    os.environ.update({key: env[key] for key in ("MLFLOW_TRACKING_URI", lineage.PROFILE)})
    with ExitStack() as stack:
        memory = stack.enter_context(services.PeakMemory())
        if "PREFECT_API_URL" not in env:
            env["PREFECT_API_URL"] = stack.enter_context(services.prefect_server())
        known = os.environ.get(lineage.PARENT_RUN)  # of a retraining, of which this pipeline run is a part
        parent = tracking.Run(tracking.uri(), known) if known else lineage.start_pipeline()
        env[lineage.PARENT_RUN] = parent.run_id
        if not env.get("RAY_ADDRESS"):
            env |= stack.enter_context(services.ray_head())
            env |= {key: value for key, value in os.environ.items() if key.startswith("RAY_AUTH_")}  # Ray sets them as it starts
        services.wait_for(env["PREFECT_API_URL"])
        with tracking.system_metrics(parent):
            outcome = _dvc(place, env, *(["--pull"] if pull else []), *targets)
    try:
        lineage.finish_pipeline(parent, place, outcome.did, failed=outcome.code != 0)
    except ConnectionError as error:  # it costs the record of this run, not what the run has made
        print(f"repro: not all of this run is in MLflow: {error}", file=sys.stderr)
    if outcome.code == 0:
        # Only looked at, not run: where posts have landed meanwhile there is something to do, and its servers are gone.
        _write_numbers(place, outcome, memory.peak_bytes, noop_s=_dvc(place, env, "--dry", *targets, quiet=True).wall_s)
        parent.artifact(place / "metrics" / "run.json")
    written = workspace.collect(root, profile) if profile else []
    if outcome.code == 0 and not targets:  # a part's results belong beside those of the rest
        _upload(place, profile)
    if written:
        print(f"repro: profile {profile}: " + ", ".join(path.relative_to(root).as_posix() for path in written))
    return outcome.code


def _environment(root: Path, place: Path, profile: str) -> dict[str, str]:
    """Of DVC and its stages. All profiles share the root's MLflow, so that their runs can be compared."""
    env = dict(os.environ)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    env.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    env["BOIG_PROFILE"] = profile or "default"
    env["PYTHONUNBUFFERED"] = "1"
    env["PYTHONPATH"] = str(place)
    return env


def _up_to_date(place: Path, env: dict[str, str], *targets: str) -> bool:
    """Whether DVC has nothing to do: then nothing is started for it."""
    upstream = ["--with-deps", *targets] if targets else []
    status = subprocess.run(
        ["dvc", workspace.WAITING, "status", "--quiet", *upstream], cwd=place, env=env, check=False, capture_output=True
    )
    return status.returncode == 0


def _dvc(place: Path, env: dict[str, str], *words: str, quiet: bool = False) -> Outcome:
    """Run `dvc repro` with these targets and options; signals that come meanwhile go to its whole process group.

    Its standard output is read to learn what it does with each stage, and passed on unless `quiet`; progress bars go to standard error.
    """
    outcome, begun = Outcome(), time.perf_counter()
    running, since = "", begun
    with (
        subprocess.Popen(
            ["dvc", workspace.WAITING, "repro", *words],
            cwd=place,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=die_with_parent,
        ) as process,
        _forwarding(process),
    ):
        for line in process.stdout or ():
            now = time.perf_counter()
            for what, pattern in SAYS.items():
                if found := pattern.search(line):
                    if running:
                        outcome.seconds[running] = now - since
                    running, since = (found[1] if what == "ran" else ""), now
                    outcome.did[found[1]] = what
            if not quiet:
                print(line, end="", flush=True)
        outcome.code = process.wait()
    outcome.wall_s = time.perf_counter() - begun
    if running:
        outcome.seconds[running] = time.perf_counter() - since
    return outcome


@contextmanager
def _forwarding(process: subprocess.Popen) -> Iterator[None]:
    """Hand SIGINT, SIGTERM and SIGHUP on to the process group; kill what is left of it after a grace."""

    def forward(number: int, _: object) -> None:
        _to_group(process.pid, number)
        killer = threading.Timer(GRACE_S, _to_group, (process.pid, signal.SIGKILL))
        killer.daemon = True
        killer.start()

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            _to_group(process.pid, signal.SIGKILL)


def _to_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it may have ended
        os.killpg(group, number)


def _write_numbers(place: Path, outcome: Outcome, peak_bytes: int, noop_s: float) -> None:
    """`metrics/run.json`. A run that only redid a part never replaces the numbers of a whole one."""
    path = place / "metrics" / "run.json"
    stages = yaml.safe_load((place / "dvc.yaml").read_text())["stages"]
    complete = set(outcome.did) == set(stages) and all(what == "ran" for what in outcome.did.values())
    if path.is_file() and not complete:
        return
    numbers = {
        "wall_s": round(outcome.wall_s, 1),
        "peak_rss_gb": round(peak_bytes / 1e9, 2),
        "noop_s": round(noop_s, 1),
        "cores": len(os.sched_getaffinity(0)),
        "stages": {stage: round(seconds, 1) for stage, seconds in outcome.seconds.items()},
        "not_run": [stage for stage, what in outcome.did.items() if what != "ran"],
    }
    write_json(path, numbers)


def _upload(place: Path, profile: str) -> None:
    """To the store that `BOIG_S3_URL` names, if one is named."""
    if "BOIG_S3_URL" in os.environ:
        from boig.store import publish

        print("repro: published as " + publish(place, profile or "default"))


if __name__ == "__main__":
    raise SystemExit(main())
