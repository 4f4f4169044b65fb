"""`python -m flows.verbalize`: pictures as text, batches of them on a pool of Ray actors; only what changed is done anew."""

import time

from prefect import flow, task

from boig.reporting import Reporter
from boig.sections.verbalize import Verbalize
from flows.on_ray import map_batches
from flows.stage import run_stage
from tasks import verbalize as tasks

_SHOWN = 16


@task(name="verbalize pictures")
def verbalize_pictures(section: Verbalize, report: Reporter) -> dict:
    """Plan, fan out, assemble. One step: between them travel all pictures, which Prefect must not see."""
    work = tasks.plan(section)
    checks, truths = tasks.check_rows(section.check_pictures, section.check_seed)
    begun = time.perf_counter()
    done = map_batches(
        [*work.todo, *checks],
        tasks.PictureVerbalizer,
        {"section": section, "known": str(tasks.KNOWN)},
        batch_size=section.batch_size,
        workers=section.resources.workers,
        cpus_per_worker=section.resources.cpus,
        gpus_per_worker=section.resources.gpus,
        label="verbalize",
    )
    seconds = time.perf_counter() - begun
    rows = tasks.assemble(work, done[: len(work.todo)])
    report.picture("verbalized", tasks.sheet(rows))
    report.table("verbalized", [{key: row[key] for key in ("picture_id", "text", "error")} for row in rows[:_SHOWN]])
    scores = tasks.check_scores(truths, done[len(work.todo) :], section.check_seed)
    made = f"{len(rows)} pictures as text in data/verbalized, {len(work.todo)} of them new"
    return tasks.metrics(rows, scores, len(done), seconds) | {"made": made}


@flow(name="verbalize", validate_parameters=False)
def verbalize(section: Verbalize, report: Reporter) -> dict:
    """The verbalized table."""
    return verbalize_pictures(section, report)


if __name__ == "__main__":
    raise SystemExit(run_stage("verbalize", verbalize))
