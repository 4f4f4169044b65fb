"""`python -m flows.align_boigsd`: one adapter per method, trained on Ray Train, scored by reward actors beside it."""

from pathlib import Path

from prefect import flow, task

from boig.reporting import Reporter
from boig.sections.align_boigsd import AlignBoigsd
from flows.on_ray import ActorPool, train
from flows.stage import run_stage, scratch_dir
from tasks import align_boigsd as tasks


@task(name="align")
def align(section: AlignBoigsd, method: str, folder: Path, report: Reporter) -> dict:
    """Train one method; its adapter lies in the folder afterwards."""
    scoring = section.scoring
    worker_args = {"verbalizer": section.verbalizer, "reward": section.reward}
    with (
        report.part(method) as part,
        ActorPool(tasks.RewardWorker, worker_args, size=scoring.workers, cpus=scoring.cpus, gpus=scoring.gpus) as pool,
    ):
        return train(
            tasks.align,
            {"section": section, "method": method, "folder": folder, "pool": pool, "report": part},
            workers=section.resources.workers,
            cpus_per_worker=section.resources.cpus,
            gpus_per_worker=section.resources.gpus,
            label=f"align-{method}",
        )


@flow(name="align_boigsd", validate_parameters=False)
def align_boigsd(section: AlignBoigsd, report: Reporter) -> dict:
    """Adapters that make the base model draw what is expected to be liked."""
    tasks.check(section)
    folder = scratch_dir("align_boigsd", section, tasks.inputs(section))
    metrics = {method: align(section, method, folder, report) for method in section.methods}
    out = tasks.place(folder)
    gains = ", ".join(f"{name} {m['reward_first']:.1f} → {m['reward_last']:.1f}" for name, m in metrics.items())
    return metrics | {"made": f"{len(metrics)} adapters in {out}; reward of the panel: {gains}"}


if __name__ == "__main__":
    raise SystemExit(run_stage("align_boigsd", align_boigsd))
