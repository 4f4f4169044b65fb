"""Run one method on one rank; check what is needed beforehand, put the results in place afterwards."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from boig.diffusion.learner import Learner, Progress
from boig.diffusion.pipeline import add_adapter, load_base, save_adapter, speed_up
from boig.diffusion.rollout import Score
from boig.diffusion.text import TextCache
from boig.diffusion.training import Guard, run
from boig.diffusion.world import World
from boig.reporting import Reporter
from boig.reward.judge import Judge
from boig.sections.align_boigsd import AlignBoigsd
from tasks.align_boigsd.judging import PanelView
from tasks.align_boigsd.methods import GUARDED, MAKERS, Bench, settings_of
from tasks.align_boigsd.reading import inputs, panel

OUT = Path("models/boigsd")


def check(section: AlignBoigsd) -> None:
    """Before any actor starts: what would fail later in a place that is harder to read.

    Raises:
        FileNotFoundError: base model, reward, judge or posts are missing.
    """
    base = section.base
    if not Path(base.model).is_dir() and not base.revision:
        raise FileNotFoundError(
            f"align_boigsd.base: {base.model!r} is no folder, and a hub id needs a revision; run `make base`, or set both"
        )
    for path in inputs(section):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; run `dvc repro` up to the stage that writes it")


def align(config: dict) -> dict:
    """Train one method's adapter; runs on every rank, goes on where an interrupted run was.

    Args:
        config: `section` AlignBoigsd, `method` str, `folder` Path of the stage's progress, `pool` an object whose `submit` is a `Score`,
            `report` Reporter.

    Returns:
        The method's metrics, the same on every rank but for `wall_s`.
    """
    section, method, folder = config["section"], config["method"], Path(config["folder"])
    judge = Judge.load(section.reward.judge)
    return train(section, method, folder, config["pool"].submit, judge, config["report"], World.here(), time.perf_counter)


def train(
    section: AlignBoigsd, method: str, folder: Path, score: Score, judge: Judge, report: Reporter, world: World, clock: Callable[[], float]
) -> dict:
    """See `align`; with everything it needs as arguments."""
    settings, rules = settings_of(section, method), section.panel
    begun = clock()
    pipe = load_base(section.base.model, section.base.revision, section.base.device, section.base.dtype)
    add_adapter(pipe, settings.lora, section.seed)
    speed_up(pipe, section.base.channels_last, section.base.compile)
    texts, learner = TextCache(pipe), Learner(pipe, settings.optimizer, world)
    algorithm = MAKERS[method](Bench(pipe, learner, texts, score, section.seed), settings)
    look = PanelView(
        pipe, texts, panel(rules.prompts, section.seed), rules, settings.sampling, section.seed, score, judge, world,
        method, folder / "contact", report,
    )  # fmt: skip
    guard = Guard(rules.patience, rules.diversity_floor, rules.mismatch_slack) if method in GUARDED else None
    checkpoint = folder / f"{method}.safetensors"
    spent = _Seconds(folder / f"{method}.seconds.json", begun, clock, world)

    def timed(iteration: int) -> dict[str, float]:
        seen = look(iteration)
        spent.note()
        return seen

    run(algorithm, settings.iterations, look=timed, looks=rules.looks, guard=guard, checkpoint=checkpoint, report=report)
    if world.rank == 0:
        with learner.chosen():
            save_adapter(pipe, folder / "out" / method, settings.sampling)
        _write_json(folder / "out" / method / "curves.json", {"iterations": learner.progress.curves, "looks": learner.progress.looks})
    return metrics(learner.progress, spent.total())


class _Seconds:
    """Wall time over interruptions, in a file beside the checkpoint: the checkpoint itself must be the same from run to run."""

    def __init__(self, path: Path, begun: float, clock: Callable[[], float], world: World):
        self._path, self._begun, self._clock, self._world = path, begun, clock, world
        self._before = float(json.loads(path.read_text())) if path.is_file() else 0.0

    def total(self) -> float:
        return self._before + self._clock() - self._begun

    def note(self) -> None:
        if self._world.rank == 0:
            _write_json(self._path, self.total())


def metrics(progress: Progress, wall_s: float) -> dict:
    """What `metrics/align_boigsd.json` says of a method. Rewards are those of the panel, before training and of what is shipped."""
    first, shipped = progress.looks[0], progress.looks[progress.best]
    rows = progress.curves
    return {
        "wall_s": round(wall_s, 1),
        "pictures": progress.counts.pictures,
        "unet_forwards": progress.counts.unet_forwards,
        "reward_calls": progress.counts.reward_calls,
        "start_ratio_error": rows[0].get("start_ratio_error") if rows else None,
        "reward_first": first["reward"],
        "reward_last": shipped["reward"],
        "kl_last": rows[-1].get("kl") if rows else None,
        "judge_first": first["judge"],
        "judge_last": shipped["judge"],
        "diversity_first": first["diversity"],
        "diversity_last": shipped["diversity"],
        "iterations": progress.iteration,
        "iterations_shipped": int(shipped["iteration"]),
    }


def place(folder: Path, out: Path = OUT) -> Path:
    """Move finished adapters and contact sheets into the stage's output, whole or not at all, and drop the folder of the progress."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if (folder / "contact").is_dir():
        os.replace(folder / "contact", folder / "out" / "contact")
    if out.exists():
        shutil.rmtree(out)
    os.replace(folder / "out", out)
    shutil.rmtree(folder)
    return out


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(draft, path)
