"""Which pipeline run, code, data and orchestrator runs a stage's MLflow run belongs to."""

import hashlib
import json
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import yaml

from boig import tracking
from boig.params import read
from boig.section import Section

PARENT_RUN = "BOIG_PARENT_RUN"
"""Environment variable: id of the pipeline's MLflow run, set by `flows.repro`."""
PROFILE = "BOIG_PROFILE"
"""Environment variable: name of the profile, set by `flows.repro`."""
SHARED_PARENT = Path("scratch/pipeline.json")
"""Where the stages of a plain `dvc repro` tell each other the run that the first of them opened."""


def open_stage(name: str, section: Section) -> tracking.Run:
    """Open the stage's run under the pipeline's.

    Raises:
        ConnectionError: the tracking store does not answer.
    """
    run = open_pipeline().child(name, {"dvc.stage": name, "cached": "false", **code_tags()})
    run.params(dict(dotted(section.model_dump(mode="json"), f"{name}.")))
    written = {out["path"]: out.get("md5", "") for stage in read_lock().values() for out in stage.get("outs", [])}
    digests = {path: written[path] for path in declared_deps(name) if written.get(path)}
    run.tags({_tag("dep", path): md5 for path, md5 in digests.items()})
    run.inputs(digests)
    return run


def close_stage(run: tracking.Run, flow_run_id: str) -> None:
    """Tag the runs of Prefect and Ray, and end the stage's run."""
    ray_job = sys.modules["boig.cluster"].job_id() if "boig.cluster" in sys.modules else ""
    run.tags({"prefect.flow_run_id": flow_run_id, "prefect.flow_run_url": flow_run_url(flow_run_id), "ray.job_id": ray_job})
    run.end()


def open_pipeline() -> tracking.Run:
    """The run of this pipeline run: the one that `flows.repro` opened, or one shared by the stages of a plain `dvc repro`.

    Raises:
        ConnectionError: the tracking store does not answer.
    """
    if run_id := os.environ.get(PARENT_RUN):
        return tracking.Run(tracking.uri(), run_id)
    invocation = _dvc_process()
    if invocation and SHARED_PARENT.is_file():
        shared = json.loads(SHARED_PARENT.read_text())
        if shared["invocation"] == invocation and shared["uri"] == tracking.shown(tracking.uri()):
            return tracking.Run(tracking.uri(), shared["run_id"])
    run = tracking.start(tracking.uri(), "pipeline", code_tags())
    run.end()  # nobody lives to the end of a plain `dvc repro` to close it; children may still be added
    if invocation:
        SHARED_PARENT.parent.mkdir(exist_ok=True)
        SHARED_PARENT.write_text(json.dumps({"invocation": invocation, "uri": tracking.shown(run.uri), "run_id": run.run_id}))
    return run


def start_pipeline() -> tracking.Run:
    """Open a run for a whole pipeline run.

    Raises:
        ConnectionError: the tracking store does not answer.
    """
    return tracking.start(tracking.uri(), f"pipeline ({os.environ.get(PROFILE, 'default')})", code_tags())


def finish_pipeline(parent: tracking.Run, place: Path, did: dict[str, str], *, failed: bool) -> None:
    """Complete the record once DVC has written dvc.lock: what each stage read and made, and a child for each that did not run.

    Args:
        parent: of `start_pipeline`.
        place: the workspace.
        did: stage to `ran`, `restored` or `unchanged`.
        failed: whether the run as a whole did.
    """
    lock, ran = read_lock(place / "dvc.lock"), tracking.children(parent)
    for stage, what in did.items():
        entries = [(kind, entry) for kind in ("dep", "out") for entry in lock.get(stage, {}).get(f"{kind}s", [])]
        sums = {_tag(kind, entry["path"]): entry.get("md5", "") for kind, entry in entries}
        if stage in ran:
            if not failed:  # of a stage that failed the lock still has the run before
                ran[stage].tags(sums)
            continue
        outs = {name: md5 for name, md5 in sums.items() if name.startswith("dvc.out.")}
        original = tracking.newest(parent.uri, {"dvc.stage": stage, "cached": "false", **dict(list(outs.items())[:1])}) if outs else ""
        child = parent.child(stage, {"dvc.stage": stage, "cached": "true", "cached.how": what, "cached.run_id": original, **code_tags()})
        child.tags(sums)
        child.end()
    lock_file = place / "dvc.lock"
    parent.tags({"dvc.lock.sha256": hashlib.sha256(lock_file.read_bytes()).hexdigest() if lock_file.is_file() else ""})
    parent.end(failed=failed)


def code_tags() -> dict[str, str]:
    """Commit, whether the tree differs from it, hash of dvc.lock, profile."""
    lock = Path("dvc.lock")
    return {
        "git.sha": _git("rev-parse", "HEAD"),
        "git.dirty": "true" if _git("status", "--porcelain", "--untracked-files=no") else "false",
        "dvc.lock.sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "",
        "profile": os.environ.get(PROFILE, "default"),
    }


def read_lock(path: Path = Path("dvc.lock")) -> dict[str, dict]:
    """Stages of a dvc.lock; empty where there is none yet."""
    return (yaml.safe_load(path.read_text()) or {}).get("stages", {}) if path.is_file() else {}


def declared_deps(name: str, root: Path = Path(".")) -> list[str]:
    """Deps of a stage in dvc.yaml, `${section.key}` filled in."""
    if not (root / "dvc.yaml").is_file():
        return []
    params = dict(dotted(read(root / "params.yaml")))
    deps = yaml.safe_load((root / "dvc.yaml").read_text())["stages"].get(name, {}).get("deps", [])
    return [re.sub(r"\$\{([\w.]+)\}", lambda match: str(params.get(match[1], match[0])), dep) for dep in deps]


def read_by(name: str, section: Section) -> list[str]:
    """Files and folders that a stage reads, its code apart: deps, and models of the workspace that its section names by path."""
    found = [path for path in declared_deps(name) if not path.endswith(".py")]
    named = {str(value) for _, value in dotted(section.model_dump(mode="json"))} - set(found)
    return found + sorted(path for path in named if "/" in path and not path.startswith(("/", "..")) and Path(path).exists())


def _tag(kind: str, path: str) -> str:
    """Name of the tag of a dep or out. MLflow refuses names with a leading `../`, as a feed outside of the project has."""
    parts = posixpath.normpath(path).split("/")
    return f"dvc.{kind}." + "/".join(part for part in parts if part != "..")


def dotted(content: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Leaves of a nested mapping by dotted name."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def flow_run_url(flow_run_id: str) -> str:
    """Page of a Prefect flow run, where a server is there to show it."""
    api = os.environ.get("PREFECT_API_URL", "")
    return f"{api.removesuffix('/api')}/runs/flow-run/{flow_run_id}" if api and flow_run_id else ""


def _dvc_process() -> str:
    """The `dvc` process above this one, as `pid:start time`; empty without one."""
    if "DVC_STAGE" not in os.environ:
        return ""
    for process in psutil.Process().parents():
        if any(Path(word).name == "dvc" or word == "dvc" for word in process.cmdline()[:3]):
            return f"{process.pid}:{process.create_time():.2f}"
    return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
