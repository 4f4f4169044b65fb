"""`python -m flows.train_boigllm`: BoigLLM on Ray Train, its descriptions of held-out posts by a pool of actors, and its metrics."""

from pathlib import Path

from prefect import flow, task

from boig.reporting import Reporter
from boig.sections.train_boigllm import TrainBoigllm
from flows.on_ray import map_batches, train
from flows.stage import run_stage, scratch_dir
from tasks import train_boigllm as tasks


@task(name="fit boigllm")
def fit(section: TrainBoigllm, folder: Path, report: Reporter) -> dict:
    """Train in both directions; the model lies in the folder afterwards."""
    return train(
        tasks.fit,
        {"section": section, "folder": folder, "report": report},
        workers=section.resources.workers,
        cpus_per_worker=section.resources.cpus,
        gpus_per_worker=section.resources.gpus,
        label="fit-boigllm",
    )


@task(name="evaluate boigllm")
def evaluate(section: TrainBoigllm, folder: Path, report: Reporter) -> dict:
    """Describe held-out posts by each method, and score them. One step: the descriptions are not for Prefect."""
    rows, workers = tasks.questions(section), section.decoding.workers
    for name in tasks.methods(section):
        map_batches(
            tasks.unanswered(folder, name, rows),
            tasks.Describer,
            {"section": section, "folder": folder, "name": name},
            batch_size=tasks.together(section),
            workers=workers,
            cpus_per_worker=section.resources.workers * section.resources.cpus / workers,
            gpus_per_worker=section.resources.gpus,
            label=f"describe by {name}",
        )
    return tasks.score(section, {name: tasks.answers(folder, name, rows) for name in tasks.methods(section)}, report)


@flow(name="train_boigllm", validate_parameters=False)
def train_boigllm(section: TrainBoigllm, report: Reporter) -> dict:
    """A model that describes the picture that gets a wanted KPI, and tells the KPI that a picture gets."""
    folder = scratch_dir("train_boigllm", section, tasks.inputs(section))
    fitted = fit(section, folder, report)
    metrics = evaluate(section, folder, report)
    out = tasks.place(folder)
    made = f"{fitted['parameters'] / 1e6:.1f} M parameters after {fitted['steps']} steps on {fitted['examples']} examples in {out}"
    return metrics | {"made": made}


if __name__ == "__main__":
    raise SystemExit(run_stage("train_boigllm", train_boigllm))
