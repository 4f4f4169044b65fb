"""Retraining: a challenger from what has landed since the last one, and the gate that it has to pass to become the champion.

A flow that is deployed from `infra/prefect.yaml`, by a clock and by the event that ingest emits; `python -m flows.retrain` runs it once.
Every step may be killed: what DVC has finished is in its cache, what it has not is in the worktree, nothing is registered before it is
pushed and judged, and the champion changes in one write at the very end.
"""

import argparse
import hashlib
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from prefect import flow, get_run_logger, task
from prefect.logging.configuration import setup_logging
from prefect.runtime import deployment
from prefect.states import Completed, State
from pydantic import ValidationError

from boig import tracking
from boig.registry import AGAINST, COMMIT, FEED_NEWEST, FEED_POSTS, GATE, LINE, LOCK, Registry, Version
from boig.retraining.gate import Check, Verdict
from boig.retraining.line import Line
from boig.retraining.settings import Retraining
from flows import lineage, papers, worktree
from flows.landed import DEPLOYMENTS, Landed, last_of, look, nothing_new, read_params
from flows.processes import alone, die_with_parent
from flows.stage import USER_MISTAKES
from infra.orchestrator import reaching_prefect
from infra.remote import configured

PROGRESS = re.compile(r"\d%\|")
"""A bar of progress, of which a log would hold hundreds."""
ANNOUNCES, REPEATS = "> ", "ERROR: failed to reproduce"
"""How DVC begins what it says before a stage, and after one that has failed, mostly with a word of its own."""
CHAMPION = "champion"
"""Folder of the worktree that holds what is needed of the generation in use."""
NEEDED = ("models/boigllm", "models/reward", "models/judge", "data/posts")


@flow(name="retrain", flow_run_name="retrain {settings.profile}")
@tracking.answering()
def retrain(settings: Retraining) -> State:
    """One retraining, or the news that there is nothing to retrain on. Where another one works it waits, and then looks at the feed."""
    root = Path.cwd()
    with alone(root / worktree.FOLDER / "lock", f"retrain: another retraining is at work in {root}; waiting for its end"):
        current(root, deployment.version)
        return Completed(message=retrained(settings, root))


def retrained(settings: Retraining, root: Path) -> str:
    """What `retrain` does while no other one does it here; what came of it, in a line."""
    registry = Registry(tracking.uri())
    clear_away(root, registry)
    if was := registry.lost():  # else what comes next would pass for a first generation, which nothing is compared with
        told = f"version {was.number} was the champion, and none is now: alias {CHAMPION!r} is gone from MLflow's registry"
        raise ValueError(f"{told}; set it there again, on version {was.number} or on another that may be used")
    if (left := registry.undecided()) and not settings.approval:
        registry.promote(left, by="gate")  # its retraining was killed between the verdict and this
    champion = registry.champion()
    last = last_of(registry.versions(), champion)
    landed = look(settings, root, last)
    if idle := nothing_new(landed, last, settings.min_new_posts):
        return idle
    with worktree.opened(root, name_of(root, settings, landed, champion)) as place, recorded(settings) as run:
        prepare(settings, root, place, champion)
        make(place, settings.until, run.run_id)
        commit = keep(place, f"Retraining on {landed.posts:,} posts up to {landed.newest:%Y-%m-%d}", settings.push_to)
        verdict = compare(settings, place, champion)
        version = register(run, place, commit, landed, champion, verdict)
    return decide(registry, version, verdict, approval=settings.approval)


def clear_away(root: Path, registry: Registry) -> None:
    """What killed retrainings have left: runs without an end, and worktrees whose generation is registered, to which nobody comes back."""
    tracking.end_dead(tracking.uri())
    # Where a generation's commit was made the root's own, a retraining that has not committed yet is at it too.
    registered = {version.commit for version in registry.versions()} - {worktree.git(root, "rev-parse", "HEAD")}
    worktree.clear(root, lambda place: (place / ".git").exists() and worktree.git(place, "rev-parse", "HEAD") in registered)


def current(root: Path, deployed: str | None) -> None:
    """Check that a deployment is of the checkout's commit.

    Raises:
        ValueError: it is of another one.
    """
    if deployed and deployed != (here := worktree.git(root, "rev-parse", "HEAD")):
        raise ValueError(f"this deployment is of commit {deployed[:12]}, the checkout {root} is at {here[:12]}; run `make deploy` there")


@contextmanager
def recorded(settings: Retraining) -> Iterator[tracking.Run]:
    """The retraining's MLflow run, which ends with it."""
    run = tracking.start(tracking.uri(), f"retraining ({settings.profile or 'default'})", lineage.code_tags())
    try:
        yield run
    except BaseException:
        run.end(failed=True)
        raise
    run.end()


def name_of(root: Path, settings: Retraining, landed: Landed, champion: Version | None) -> str:
    """Of the worktree: the same question comes back to the same one, with what an interrupted run has left there."""
    asked = (worktree.git(root, "rev-parse", "HEAD"), settings.model_dump_json(), landed, champion and champion.number)
    return f"{landed.newest:%Y-%m-%d}-{hashlib.sha256(repr(asked).encode()).hexdigest()[:8]}"


@task(name="prepare")
def prepare(settings: Retraining, root: Path, place: Path, champion: Version | None) -> None:
    """The worktree's parameters, and what is needed of the champion."""
    changes: dict[str, dict] = {}
    if champion:
        check_start(settings, root)
        restore(root, champion, NEEDED, place / CHAMPION)
        if settings.warm_start:
            changes["train_boigllm"] = {"base": f"{CHAMPION}/models/boigllm", "revision": champion.tags[LOCK][:16]}
    worktree.settle(root, place, settings.profile, settings.feed, settings.until, changes)


def restore(root: Path, version: Version, names: Sequence[str], target: Path) -> None:
    """Outputs of a generation, by its commit, or by its papers where the commit is lost; those of the names that it has made.

    Raises:
        FileNotFoundError: an output is neither in the cache nor in the remote.
    """
    with tempfile.TemporaryDirectory() as folder:
        texts = worktree.papers(root, version.commit, lambda: Registry(tracking.uri()).papers(version, Path(folder)))
    made = worktree.outputs(texts)
    worktree.restore(root, version.commit, texts, [name for name in names if name in made], target)


def check_start(settings: Retraining, root: Path) -> None:
    """See whether the challenger's BoigLLM stands for itself.

    Raises:
        ValueError: it would be an adapter on the champion's weights, which are gone with the worktree.
    """
    lora = read_params(settings, root)["train_boigllm"]["lora"]
    if settings.warm_start and lora and not lora["merge"]:
        raise ValueError("warm_start wants whole weights, but train_boigllm.lora.merge is false; set it, or warm_start: false")


@task(name="run the pipeline")
def make(place: Path, until: str, run_id: str) -> None:
    """`dvc repro` in the worktree, line by line into the log.

    Raises:
        RuntimeError: a stage failed.
    """
    log = get_run_logger()
    command = [sys.executable, "-m", "flows.repro", *(["--pull"] if configured(place) else []), *(["--stage", until] if until else [])]
    env = worktree.environment(place) | {lineage.PARENT_RUN: run_id, "MLFLOW_TRACKING_URI": tracking.uri()}
    said = ""
    with subprocess.Popen(
        command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent
    ) as process:
        for line in process.stdout or ():
            if (text := line.rpartition("\r")[2].strip()) and not PROGRESS.search(text):
                log.info(text)
                said = said if text.startswith(REPEATS) and said and not said.startswith(ANNOUNCES) else text
    if process.returncode:
        raise RuntimeError(f"the pipeline ended with {process.returncode} ({said}); the worktree {place} is kept and taken up next time")


@task(name="push and commit", retries=3, retry_delay_seconds=[10, 30, 60])
def keep(place: Path, message: str, push_to: str) -> str:
    """Models and data to DVC's remote, where there is one; parameters, lock and metrics into the branch; that to Git's remote. The commit.

    Raises:
        ConnectionError: a remote does not take them.
    """
    if configured(place) and (done := worktree.dvc(place, "push")).returncode:
        raise ConnectionError(f"dvc push: {worktree.complaint(done)}; see `make doctor`")
    commit = worktree.commit(place, message)
    if push_to:
        worktree.push(place, push_to)
    return commit


@task(name="ask the gate")
def compare(settings: Retraining, place: Path, champion: Version | None) -> Verdict:
    """The challenger beside the champion; a first generation, or another one while none is approved, has none to beat."""
    if champion is None:
        return Verdict((Check("first", True, "a first generation: there is no champion to compare with"),))
    from tasks import retrain as tasks  # torch: not before it is needed

    return tasks.compare(settings, place, place / CHAMPION, Line.read(champion.tags.get(LINE, "")))


@task(name="register")
def register(run: tracking.Run, place: Path, commit: str, landed: Landed, champion: Version | None, verdict: Verdict) -> Version:
    """The challenger, with its papers and what the gate said."""
    folder = papers.write(place, verdict, champion.number if champion else None)
    tags = {
        COMMIT: commit,
        LOCK: hashlib.sha256((place / "dvc.lock").read_bytes()).hexdigest(),
        FEED_POSTS: str(landed.posts),
        FEED_NEWEST: landed.newest.isoformat(),
        AGAINST: str(champion.number) if champion else "",
        LINE: verdict.line.text(tracking.MAX_TAG),
        GATE: f"{'passed' if verdict.passed else 'refused'}: {verdict.reason}",
    }
    version = Registry(run.uri).register(run, folder, tags, (folder / papers.CARD).read_text())
    run.tags({**tags, "boig.version": str(version.number)})
    return version


def decide(registry: Registry, version: Version, verdict: Verdict, *, approval: bool) -> str:
    """Make the challenger champion where it may be; what came of it, in a line."""
    name = f"version {version.number}"
    if not verdict.passed:
        return f"{name} stays a challenger: {verdict.reason}"
    registry.check_champion(version)
    if approval:
        return f"{name} has passed the gate and waits: `python -m flows.champion approve {version.number}` ({verdict.reason})"
    registry.promote(version, by="gate")
    return f"{name} is the champion: {verdict.reason}"


def main(arguments: list[str] | None = None) -> int:
    """One retraining from the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.retrain", description="One retraining.")
    parser.add_argument("--settings", type=Path, help=f"YAML file; by default the parameters in {DEPLOYMENTS}")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    setup_logging()
    for handler in (*logging.getLogger().handlers, *logging.getLogger("prefect").handlers):
        handler.addFilter(lambda record: not record.exc_info)  # a failure is told below, in one line
    try:
        settings = read_settings(asked.settings)
        with reaching_prefect():
            state = retrain(settings, return_state=True)
        state.result()  # raises what the flow has raised
    except (*USER_MISTAKES, OSError, RuntimeError) as error:
        print(f"retrain: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"retrain: {state.message}")
    return 0


def read_settings(path: Path | None) -> Retraining:
    """Settings of a file, or those that are deployed.

    Raises:
        FileNotFoundError, ValueError: no such file, or a wrong key or value; one line.
    """
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; start from the parameters in {DEPLOYMENTS}")
    raw = read_yaml(path or DEPLOYMENTS)
    if path is None:
        raw = next(d for d in raw["deployments"] if d["name"] == "retrain")["parameters"]["settings"]
    try:
        return Retraining.model_validate(raw)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors())
        raise ValueError(f"{path or DEPLOYMENTS}: {told}") from None


def read_yaml(path: Path) -> dict:
    """A settings file.

    Raises:
        ValueError: it is not YAML, or no mapping.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path} must map names to values, is {type(raw).__name__}")
    return raw


if __name__ == "__main__":
    raise SystemExit(main())
