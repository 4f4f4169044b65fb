"""`python -m flows.simulate`: the embedded feed, its pictures painted in shards on Ray."""

from pathlib import Path

from prefect import flow, task

from boig.reporting import Reporter
from boig.sections.simulate import Simulate
from flows.on_ray import map_batches
from flows.stage import run_stage, scratch_dir
from tasks import simulate as tasks


@task(name="paint")
def paint(section: Simulate, staging: Path) -> None:
    """Plan the feed and paint its pictures; they stay in the staging folder."""
    painted = map_batches(
        tasks.paint_rows(tasks.plan(section)),
        tasks.Painter,
        {"picture_px": section.picture_px},
        batch_size=section.batch_size,
        workers=section.resources.workers,
        cpus_per_worker=section.resources.cpus,
        gpus_per_worker=section.resources.gpus,
        label="paint pictures",
    )
    tasks.keep(staging, [row["painted"] for row in painted])


@task(name="write")
def write(section: Simulate, staging: Path) -> dict:
    """Likes, pages, truth and ceiling; then the feed moves to its place."""
    metrics = tasks.write(section, tasks.plan(section), tasks.kept(staging), staging)
    place = tasks.publish(staging)
    return metrics | {"made": f"{metrics['posts']} posts, {metrics['pictures']} pictures in {place}"}


@flow(name="simulate", validate_parameters=False)
def simulate(section: Simulate, report: Reporter) -> dict:
    """A feed whose law of likes is known."""
    staging = scratch_dir("simulate", section, [])
    paint(section, staging)
    return write(section, staging)


if __name__ == "__main__":
    raise SystemExit(run_stage("simulate", simulate))
