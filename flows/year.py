"""`python -m flows.year` (or `make year`): a simulated feed is released month by month, and retraining runs on each release.

The champion in use and the first one, which is never retrained, are asked about each month's posts before either has seen them. Half-way
the audience's taste changes; in one month somebody buys likes for a word. It happens in a clone of the project, so that no branch and no
model of the project itself is touched; what came of it is in `metrics/year/year.json` and `reports/year/`. An interrupted run goes on.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import yaml

from boig.evaluation import charts
from boig.registry import FEED_NEWEST, GATE, Registry, Version
from boig.retraining.year import Year, release
from boig.sections.simulate import Simulate
from flows import services, workspace, worktree
from flows.retrain import read_yaml, restore
from flows.stage import USER_MISTAKES, write_json

SETTINGS = Path("infra/year.yaml")
DATA = ("data/posts", "data/verbalized")
MODELS = ("models/boigllm", "models/reward", "models/judge")


def main(arguments: list[str] | None = None) -> int:
    """The year; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.year", description="Retraining through a simulated year.")
    parser.add_argument("--settings", type=Path, default=SETTINGS, help=f"YAML file; by default {SETTINGS}")
    parser.add_argument("--place", type=Path, default=Path("scratch/year"), help="folder of the clone and the released feed")
    asked = parser.parse_args(arguments)
    try:
        year = Year.model_validate(read_yaml(asked.settings))
        rows = live(year, Path.cwd(), asked.place.resolve())
        print(f"year: {_told(rows)}; the chart is {draw(year, rows, Path('reports/year'))}")
    except USER_MISTAKES as error:
        print(f"year: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def live(year: Year, root: Path, place: Path) -> list[dict]:
    """Go through the months; one row each, kept in `metrics/year/year.json` as they come. Another commit or another year begins anew."""
    commit = worktree.git(root, "rev-parse", "HEAD")
    place = place / hashlib.sha256(f"{commit} {year.model_dump_json()}".encode()).hexdigest()[:16]
    project = _clone(root, place)
    result = root / "metrics" / "year" / "year.json"
    with _servers(project):
        _run(project, "flows.repro", "--profile", year.retraining.profile, "--stage", "simulate")
        feed = project / ".profiles" / year.retraining.profile / "data" / "feed"
        registry = Registry(os.environ["MLFLOW_TRACKING_URI"])
        rows: list[dict] = []
        kept = json.loads(result.read_text()) if result.is_file() else {}
        known = {row["month"]: row for row in kept["months"]} if kept.get("place") == place.name else {}
        since = None
        for month in year.months.released():
            newest = release(feed, place / "feed", month, year.poison)
            # The champion of now may have learned from this month, where an earlier call was interrupted.
            used = registry.version(rows[-1]["champion"]) if rows and rows[-1]["champion"] else None
            row = known.get(month) or _month(year, project, place, registry, month, since, used)
            rows.append(row)
            since = newest
            write_json(
                result,
                {
                    "place": place.name,
                    "months": rows,
                    "drift_month": _drift(project, year),
                    "poison_month": year.poison and year.poison.month,
                },
            )
            print(f"year: month {month}: {row['told']}", flush=True)
    return rows


def _month(year: Year, project: Path, place: Path, registry: Registry, month: int, since: datetime | None, before: Version | None) -> dict:
    """Retrain on what is released, and see how well the champion before it and the first model foresaw the month."""
    settings = place / "retrain.yaml"
    settings.write_text(yaml.safe_dump(year.retraining.model_copy(update={"feed": str(place / "feed")}).model_dump(mode="json")))
    told = _run(project, "flows.retrain", "--settings", str(settings))
    made, after = registry.versions()[-1], registry.champion()
    row = {"month": month, "told": told, "version": made.number, "champion": after.number if after else None}
    row |= {"gate": made.tags[GATE], "newest": made.tags[FEED_NEWEST], "knows": {}}
    if before and since:
        row["knows"] = _foresight(year, project, place, {"champion": before, "first": registry.versions()[0]}, made, since)
    return row


def _foresight(year: Year, project: Path, place: Path, models: dict[str, Version], made: Version, since: datetime) -> dict:
    from tasks.retrain import knows  # torch: not before it is needed

    data = place / "data" / str(made.number)
    restore(project, made, DATA, data)
    folders = {}
    for name, version in models.items():
        folders[name] = place / "models" / str(version.number)
        if not folders[name].exists():
            restore(project, version, MODELS, folders[name])
    return knows(data, folders, since, year.poison.word if year.poison else "\0", year.retraining.seed)


def draw(year: Year, rows: list[dict], folder: Path) -> Path:
    """The chart, as SVG."""
    names = {"champion": "champion, retrained", "first": "first model, never retrained"}
    drawn = [row for row in rows if row["knows"]]
    lines = {shown: [(row["month"], row["knows"][name]["reward"]) for row in drawn] for name, shown in names.items()}
    result = json.loads(Path("metrics/year/year.json").read_text())
    marks = [(result["drift_month"] + 0.5, "taste changes")] if result["drift_month"] else []
    marks += [(year.poison.month, "poisoned"), (year.poison.taken_back, "taken back")] if year.poison else []
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "year.svg"
    path.write_text(charts.over_time(lines, marks, x="month of the feed (simulated)", y="reward's correlation with the month's KPI"))
    return path


def _clone(root: Path, place: Path) -> Path:
    """A clone of the committed project, with the root's environment."""
    project = place / "project"
    if not (project / ".git").exists():
        place.mkdir(parents=True, exist_ok=True)
        worktree.git(root, "clone", "--quiet", "--shared", str(root), str(project))
    return project


@contextmanager
def _servers(project: Path) -> Iterator[None]:
    """One Prefect server and one Ray head for all months, unless the environment names some; runs and versions stay in the clone."""
    with ExitStack() as stack:
        if "PREFECT_API_URL" not in os.environ:
            os.environ["PREFECT_API_URL"] = stack.enter_context(services.prefect_server())
        if not os.environ.get("RAY_ADDRESS"):
            os.environ.update(stack.enter_context(services.ray_head()))
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{project / 'mlflow.db'}"
        services.wait_for(os.environ["PREFECT_API_URL"])
        yield


def _run(project: Path, module: str, *arguments: str) -> str:
    """A module of the clone's own code; the last line that it prints.

    Raises:
        ValueError: it failed.
    """
    env = os.environ | {"PYTHONPATH": str(project)}
    log = project.parent / f"{module}.log"
    with log.open("a") as stream:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments], cwd=project, env=env, stdout=subprocess.PIPE, stderr=stream, text=True
        )
        stream.write(done.stdout)
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        raise ValueError(f"{module} ended with {done.returncode}; see {log}")
    return lines[-1] if lines else ""


def _drift(project: Path, year: Year) -> float | None:
    change = Simulate.model_validate(workspace.overlay(project, year.retraining.profile)["simulate"]).drift
    return change.month if change else None


def _told(rows: list[dict]) -> str:
    crowned = sum(a["champion"] != b["champion"] for a, b in pairwise(rows))
    return f"{len(rows)} months, {crowned} new champions after the first"


if __name__ == "__main__":
    raise SystemExit(main())
