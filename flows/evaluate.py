"""`python -m flows.evaluate`: held-out briefs, every method's pictures, scores, tables, report; drawing and looking fan out on Ray."""

from functools import partial
from pathlib import Path

from prefect import flow, task

from boig.reporting import Reporter
from boig.sections.evaluate import Evaluate
from flows.on_ray import map_batches
from flows.stage import run_stage, scratch_dir


def _fan_out(section: Evaluate):
    """`map_batches` on the stage's share of the cluster."""
    take = section.resources
    return partial(map_batches, workers=take.workers, cpus_per_worker=take.cpus, gpus_per_worker=take.gpus)


@task(name="describe")
def describe(section: Evaluate, scratch: Path) -> None:
    """BoigLLM's picture for each brief and wanted bucket."""
    from tasks.evaluate import steps

    steps.describe(section, steps.ground(section), scratch, _fan_out(section))


@task(name="paint")
def paint(section: Evaluate, scratch: Path) -> None:
    """Every method's pictures, from the same seeds."""
    from tasks.evaluate import steps

    steps.paint(section, steps.ground(section), scratch, _fan_out(section))


@task(name="score")
def score(section: Evaluate, scratch: Path) -> None:
    """Reward, judge, law, agreement and features of all pictures."""
    from tasks.evaluate import steps

    steps.score(section, steps.ground(section), scratch, _fan_out(section))


@task(name="conclude")
def conclude(section: Evaluate, scratch: Path, report: Reporter) -> dict:
    """Estimates, report and model card."""
    from tasks.evaluate import steps

    return steps.conclude(section, steps.ground(section), scratch, report)


@flow(name="evaluate", validate_parameters=False)
def evaluate(section: Evaluate, report: Reporter) -> dict:
    """How good each method's pictures are, on briefs that nothing was trained on."""
    from tasks.evaluate import steps

    scratch = scratch_dir("evaluate", section, steps.inputs(section))
    describe(section, scratch)
    paint(section, scratch)
    score(section, scratch)
    return conclude(section, scratch, report)


if __name__ == "__main__":
    raise SystemExit(run_stage("evaluate", evaluate))
