"""The loop that every method shares: iterate, look at the panel now and then, stop early, survive an interruption."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from boig.diffusion.learner import Learner
from boig.reporting import Reporter


class Algorithm(Protocol):
    """A way to align: one iteration at a time, a pure function of the learner's state and the iteration."""

    learner: Learner

    def step(self, iteration: int) -> dict[str, float]:
        """Do one iteration; its row of the curves."""


@dataclass(frozen=True)
class Guard:
    """When a look at the panel may be the one to ship, and when to stop looking for a better one."""

    patience: int
    """Looks without a better judge after which the run stops."""
    diversity_floor: float
    """Least diversity, as a share of the base's."""
    mismatch_slack: float
    """By how much the share of missed products may be above the base's."""

    def allows(self, look: dict[str, float], base: dict[str, float]) -> bool:
        return (
            look["diversity"] >= self.diversity_floor * base["diversity"]
            and look.get("mismatch", 0.0) <= base.get("mismatch", 0.0) + self.mismatch_slack
        )


Look = Callable[[int], dict[str, float]]
"""Draw the panel after so many iterations: at least `judge` and `diversity`; `mismatch` where the reward knows it. Equal on every rank."""


def run(
    algorithm: Algorithm,
    iterations: int,
    *,
    look: Look,
    looks: int,
    guard: Guard | None,
    checkpoint: Path,
    report: Reporter,
) -> None:
    """Train until the iterations are done or the guard stops it; afterwards `learner.best` holds what to ship.

    Args:
        algorithm: what to iterate; its learner is fresh.
        iterations: at most.
        look: draws the panel.
        looks: how often, evenly over the run, beside the one at the base.
        guard: chooses the best look by the judge; None ships the last weights.
        checkpoint: file to go on from, written at each look by rank 0.
        report: gets the curves.
    """
    learner = algorithm.learner
    every = max(1, iterations // looks)
    if not learner.restore(checkpoint):
        _look(learner, look, guard, report)
        _save(learner, checkpoint)
    while learner.progress.iteration < iterations and not _stopped(learner, guard):
        row = algorithm.step(learner.progress.iteration)
        learner.progress.iteration += 1
        learner.progress.curves.append(row)
        report.curve(learner.progress.iteration, **row)
        if learner.progress.iteration % every == 0 or learner.progress.iteration == iterations:
            _look(learner, look, guard, report)
            _save(learner, checkpoint)
    if guard is None:
        learner.progress.best = len(learner.progress.looks) - 1
        learner.keep()


def _look(learner: Learner, look: Look, guard: Guard | None, report: Reporter) -> None:
    progress = learner.progress
    with learner.averaged():
        seen = look(progress.iteration)
    progress.looks.append({"iteration": progress.iteration, "unet_forwards": progress.counts.unet_forwards} | seen)
    report.curve(progress.iteration, **{f"panel/{key}": value for key, value in seen.items()})
    best = progress.looks[progress.best]
    if guard and seen["judge"] > best["judge"] and guard.allows(seen, progress.looks[0]):
        progress.best = len(progress.looks) - 1
        learner.keep()


def _stopped(learner: Learner, guard: Guard | None) -> bool:
    return guard is not None and len(learner.progress.looks) - 1 - learner.progress.best >= guard.patience


def _save(learner: Learner, checkpoint: Path) -> None:
    if learner.world.rank == 0:
        learner.save(checkpoint)
