"""`python -m flows.ingest`: any feed into the `posts` contract, its pictures decoded in shards on Ray."""

import json
from pathlib import Path

from prefect import flow, task
from prefect.events import emit_event

from boig.feed import overview
from boig.feed.reading import feed_root, picture_keys, unchanged
from boig.reporting import Reporter
from boig.sections.ingest import Ingest
from flows.on_ray import map_batches
from flows.stage import run_stage, write_json
from tasks import ingest as tasks

ANNOUNCED = Path("scratch/landed.json")
"""How many posts there were when the last event was emitted; kept outside of the stage's outputs, which DVC empties."""
LANDED = "boig.posts.landed"


@task(name="ingest feed")
def ingest_feed(section: Ingest) -> dict:
    """Read, decode, assemble. One step: between them travel all pictures, which Prefect must not see."""
    intake = tasks.read(section)
    found = map_batches(
        [{"picture": name} for name in picture_keys(intake.rows)],
        tasks.PictureReader,
        {"root": str(feed_root(Path(section.feed))), "limits": section.picture, "fetch": section.fetch},
        batch_size=section.batch_size,
        workers=section.resources.workers,
        cpus_per_worker=section.resources.cpus,
        gpus_per_worker=section.resources.gpus,
        label="decode pictures",
    )
    return tasks.assemble(section, intake, found)


def show(report: Reporter) -> None:
    """The data report: what there is, what was refused, how it looks."""
    report.table("accounts", overview.accounts())
    if refused := overview.refused():  # MLflow takes no empty table
        report.table("quarantine", refused)
    report.picture("low_medium_high", overview.sheet())


def announce(posts: int, least: int, feed: str) -> bool:
    """Emit `LANDED` when there are at least `least` posts more than at the last event; whether it was.

    The first time in a workspace there is nothing to compare with: no event.
    """
    before = json.loads(ANNOUNCED.read_text())["posts"] if ANNOUNCED.is_file() else None
    if before is not None and posts - before < least:
        return False
    if before is not None:
        resource = {"prefect.resource.id": "boig.feed", "prefect.resource.name": feed}
        emit_event(LANDED, resource, payload={"posts": posts, "new": posts - before})
    write_json(ANNOUNCED, {"posts": posts})  # not before: told twice is better than never
    return before is not None


@flow(name="ingest", validate_parameters=False)
def ingest(section: Ingest, report: Reporter) -> dict:
    """Posts, pictures, negatives and a quarantine."""
    with unchanged(Path(section.feed)):
        metrics = ingest_feed(section)
    show(report)
    announce(metrics["ok"], section.landing, section.feed)
    made = f"{metrics['ok']} posts of {metrics['accounts']} accounts in data/posts, {metrics['failed']} rows in quarantine"
    return metrics | {"made": made}


if __name__ == "__main__":
    raise SystemExit(run_stage("ingest", ingest))
