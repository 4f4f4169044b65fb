"""`python -m flows.ingest`: any feed into the `posts` contract, its pictures decoded in shards on Ray."""

from pathlib import Path

from prefect import flow, task

from boig.feed.reading import feed_root, picture_keys
from boig.reporting import Reporter
from boig.sections.ingest import Ingest
from flows.on_ray import map_batches
from flows.stage import run_stage
from tasks import ingest as tasks


@task(name="ingest feed")
def ingest_feed(section: Ingest) -> dict:
    """Read, decode, assemble. One step: between them travel all pictures, which Prefect must not see."""
    intake = tasks.read(section)
    found = map_batches(
        [{"picture": name} for name in picture_keys(intake.rows)],
        tasks.PictureReader,
        {"root": str(feed_root(Path(section.feed)).resolve()), "limits": section.picture, "fetch": section.fetch},
        batch_size=section.batch_size,
        workers=section.resources.workers,
        cpus_per_worker=section.resources.cpus,
        gpus_per_worker=section.resources.gpus,
        label="decode pictures",
    )
    return tasks.assemble(section, intake, found)


@flow(name="ingest", validate_parameters=False)
def ingest(section: Ingest, report: Reporter) -> dict:
    """Posts, pictures, negatives and a quarantine."""
    metrics = ingest_feed(section)
    made = f"{metrics['ok']} posts of {metrics['accounts']} accounts in data/posts, {metrics['failed']} rows in quarantine"
    return metrics | {"made": made}


if __name__ == "__main__":
    raise SystemExit(run_stage("ingest", ingest))
