"""Our aligner: group-relative, few-step policy optimization of a U-Net adapter, with guards against reward hacking.

From GRPO: G pictures per prompt, advantages within the prompt. What differs from its use on diffusion models so far (DanceGRPO, Flow-GRPO):
- every part of the reward – its total, missed products, how much a picture differs from its group – is centered within the prompt and
  scaled by the standard deviation over *all* groups, then weighted. So a weight means the same whatever the reward's unit, a prompt on
  which all pictures are equally good is not blown up by a spread near zero, and no part drowns another;
- groups without spread are dropped; advantages are clipped;
- the last steps, where sigma is near 0, are drawn deterministically and not trained; optionally only a sliding window of steps is
  stochastic, or a random few of the stochastic steps are trained;
- KL to the base from the same weights with the adapter off; a moving average of the adapter is what ships;
- no guidance in rollout and training, which halves both.
"""

from dataclasses import dataclass

import numpy as np
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from boig.diffusion.algorithms.policy import Prompts, Rules, check_adapter, drawn, improve, orders
from boig.diffusion.diversity import novelty, variety
from boig.diffusion.learner import Learner
from boig.diffusion.rollout import Score, collect
from boig.diffusion.sampler import Schedule
from boig.diffusion.settings import Group
from boig.diffusion.text import TextCache

_NO_SPREAD = 1e-6
"""Of a group's advantages, in standard deviations: below it the group says nothing."""


class GroupRelative:
    """One rollout of prompts × group pictures and its updates per iteration."""

    def __init__(
        self, pipe: StableDiffusionPipeline, learner: Learner, settings: Group, prompts: Prompts, score: Score, texts: TextCache, seed: int
    ):
        """Set up.

        Args:
            pipe: base with a fresh adapter.
            learner: of that adapter.
            settings: see there.
            prompts: to train on.
            score: the reward.
            texts: text embeddings.
            seed: of all randomness.

        Raises:
            ValueError: the window does not fit, or a weight names nothing.
        """
        check_adapter(pipe)
        span = settings.steps - settings.skip_last
        if span < max(settings.window, 1):
            raise ValueError(
                f"{settings.steps} steps less skip_last {settings.skip_last} have no room for a window of {settings.window}; raise steps"
            )
        self.learner = learner
        self._pipe, self._settings, self._prompts, self._score, self._texts, self._seed = pipe, settings, prompts, score, texts, seed

    def step(self, iteration: int) -> dict[str, float]:
        s, progress = self._settings, self.learner.progress
        chosen = drawn(self._prompts, s.prompts, iteration * s.prompts, self._seed)
        schedule = Schedule.of(self._pipe.scheduler.config, s.steps, stochasticity(s, iteration), self._pipe.device)
        rollout = collect(
            self._pipe, orders(chosen, s.group, self._seed, iteration), schedule, self._texts, self._score,
            chunk=s.chunk, guidance=s.guidance, world=self.learner.world,
        )  # fmt: skip
        count = s.prompts * s.group
        groups = np.arange(count) % s.prompts
        parts = rollout.scored.parts | {"total": rollout.scored.total, "diversity": novelty(rollout.palettes)}
        advantages = group_advantages(parts, s.weights, groups, s.advantage_clip)
        progress.counts.pictures += count
        progress.counts.reward_calls += count
        progress.counts.unet_forwards += rollout.forwards
        row = improve(
            self._pipe, self.learner, schedule, rollout, advantages.values, self._trained(schedule, iteration),
            Rules(s.chunks_per_update, s.clip, s.kl, s.kl_every, s.guidance),
        )  # fmt: skip
        seen = {f"part_{name}": float(values.mean()) for name, values in sorted(rollout.scored.parts.items())}
        return {
            "reward": float(rollout.scored.total.mean()),
            "diversity": variety(rollout.palettes),
            "kept_groups": advantages.kept,
        } | seen | row  # fmt: skip

    def _trained(self, schedule: Schedule, iteration: int) -> list[list[int]]:
        """The steps to train in each pass: the stochastic ones, or a random few of them."""
        stochastic = [step for step in range(schedule.steps) if schedule.stochastic[step]]
        few = self._settings.trained_steps or len(stochastic)
        passes = []
        for epoch in range(self._settings.epochs):
            rng = np.random.default_rng([self._seed, iteration, epoch])
            passes.append(sorted(int(i) for i in rng.choice(stochastic, size=min(few, len(stochastic)), replace=False)))
        return passes


def stochasticity(settings: Group, iteration: int) -> list[float]:
    """Eta of each step: of all but the last ones, or of the window, which slides by one step an iteration and then starts over."""
    span = settings.steps - settings.skip_last
    start = iteration % (span - settings.window + 1) if settings.window else 0
    stop = start + settings.window if settings.window else span
    return [settings.eta if start <= step < stop else 0.0 for step in range(settings.steps)]


@dataclass(frozen=True)
class Advantages:
    """Of N pictures in groups."""

    values: np.ndarray
    """(N,) float64; 0 in dropped groups; the kept ones raised so that the mean over N is one over the kept."""
    kept: float
    """Share of groups with spread."""


def group_advantages(parts: dict[str, np.ndarray], weights: dict[str, float], groups: np.ndarray, bound: float) -> Advantages:
    """Weigh the parts of a reward against each other, within each prompt.

    Args:
        parts: each (N,).
        weights: of parts, by name.
        groups: (N,) integer group of each picture.
        bound: largest absolute advantage.

    Raises:
        ValueError: a weight for a part that the reward does not give.
    """
    unknown = sorted(set(weights) - set(parts))
    if unknown:
        raise ValueError(f"align_boigsd weights name {unknown}, but the reward gives {sorted(parts)}; remove or rename them")
    _, index = np.unique(groups, return_inverse=True)
    sizes = np.bincount(index)
    combined = np.zeros(len(index))
    for name, weight in weights.items():
        values = np.asarray(parts[name], np.float64)
        centered = values - (np.bincount(index, values) / sizes)[index]
        scale = np.sqrt((centered**2).mean())
        if scale > 1e-9 * (1 + np.abs(values).max()):
            combined += weight * centered / scale
    spread = np.sqrt(np.bincount(index, combined**2) / sizes)  # of each group; its mean is 0
    kept = spread > _NO_SPREAD
    if not kept.any():
        return Advantages(np.zeros(len(index)), 0.0)
    values = np.clip(combined, -bound, bound) * kept[index] / kept[index].mean()
    return Advantages(values, float(kept.mean()))
