"""`python -m flows.train_reward`: the reward on BoigLLM and, beside it, the judge and the controls; then the table of all of them."""

import shutil
from pathlib import Path

from prefect import flow, task

from boig.cluster import connect
from boig.contracts import NEGATIVES, PICTURES, POSTS, VERBALIZED
from boig.reporting import Reporter
from boig.sections.train_reward import TrainReward
from flows.on_ray import train
from flows.stage import run_stage, scratch_dir


@task(name="train reward")
def train_engagement(section: TrainReward, folder: Path, report: Reporter) -> None:
    """The reward, on as many ranks as the section says."""
    on_ray = section.resources
    config = {"section": section, "folder": folder, "report": report}
    train(_reward, config, workers=on_ray.workers, cpus_per_worker=on_ray.cpus, gpus_per_worker=on_ray.gpus, label="reward")


@task(name="train judge and controls")
def train_beside(section: TrainReward, folder: Path, report: Reporter) -> None:
    """The judge, then baselines and ablations: on one rank."""
    on_ray = section.resources
    config = {"section": section, "folder": folder, "report": report}
    train(_judge_and_controls, config, workers=1, cpus_per_worker=on_ray.cpus, gpus_per_worker=on_ray.gpus, label="judge")


@task(name="measure and publish")
def measure(section: TrainReward, folder: Path) -> dict:
    """The table; then the models move to their places."""
    from tasks import train_reward as tasks  # torch: not before it is needed

    metrics = tasks.measure(section, folder)
    tasks.publish(folder)
    return metrics


@flow(name="train_reward", validate_parameters=False)
def train_reward(section: TrainReward, report: Reporter) -> dict:
    """Reward, judge, and how both compare with what is simpler."""
    tables = [Path(c.path) for c in (POSTS, NEGATIVES, PICTURES, VERBALIZED)]
    folder = scratch_dir("train_reward", section, [*tables, Path("models/boigllm")])
    connect()  # once, before two threads want to
    beside = train_beside.submit(section, folder, report)
    train_engagement(section, folder, report)
    beside.result()
    metrics = measure(section, folder)
    shutil.rmtree(folder)
    scores = ", ".join(
        f"{split} {metrics[split]['reward']['pearson']['mean']:.2f}" for split in ("test_time", "test_account") if split in metrics
    )
    return metrics | {"made": f"reward in models/reward (Pearson with the KPI: {scores}), judge in models/judge"}


def _reward(config: dict) -> None:
    """On each rank."""
    from tasks import train_reward as tasks

    tasks.fit_reward(**config)


def _judge_and_controls(config: dict) -> None:
    """On one rank."""
    from tasks import train_reward as tasks

    tasks.fit_judge(**config)
    tasks.fit_controls(**config)


if __name__ == "__main__":
    raise SystemExit(run_stage("train_reward", train_reward))
