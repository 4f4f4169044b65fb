"""DDPO with importance sampling, as published (Black et al., arXiv 2305.13301; ddpo-pytorch is its reference).

All denoising steps are stochastic (eta 1) and all are trained; advantages are normalized per prompt over the last 16 rewards of that
prompt, or over the rollout while there are fewer; PPO's clip is 1e-4 on the ratio of log-probabilities that are means over latent
dimensions; no KL. Every hyper-parameter and its source: `boig.diffusion.settings.Ddpo`. BOIG trains with DDPO but publishes none of them.

Deviations: the trajectory is float32 (the reference rounds it to the model's dtype); advantages are float64; a pass sees the chunk that was
drawn together, at one step at a time, instead of shuffled pairs – the same terms in another order.
"""

import numpy as np
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from boig.diffusion.algorithms.policy import Prompts, Rules, check_adapter, drawn, improve, orders
from boig.diffusion.diversity import variety
from boig.diffusion.learner import Learner
from boig.diffusion.rollout import Score, collect
from boig.diffusion.sampler import Schedule
from boig.diffusion.settings import Ddpo
from boig.diffusion.text import TextCache


class PublishedDdpo:
    """One rollout and its updates per iteration."""

    def __init__(
        self, pipe: StableDiffusionPipeline, learner: Learner, settings: Ddpo, prompts: Prompts, score: Score, texts: TextCache, seed: int
    ):
        """Set up.

        Args:
            pipe: base with a fresh adapter.
            learner: of that adapter.
            settings: see there.
            prompts: to train on; the first `settings.prompts` of a shuffle are used.
            score: the reward.
            texts: text embeddings.
            seed: of all randomness.
        """
        check_adapter(pipe)
        self.learner = learner
        self._pipe, self._settings, self._score, self._texts, self._seed = pipe, settings, score, texts, seed
        self._prompts = drawn(prompts, min(settings.prompts, len(prompts)), 0, seed)
        self._schedule = Schedule.of(pipe.scheduler.config, settings.steps, settings.eta, pipe.device)

    def step(self, iteration: int) -> dict[str, float]:
        s, progress = self._settings, self.learner.progress
        chosen = drawn(self._prompts, s.pictures, iteration * s.pictures, self._seed + 1)
        rollout = collect(
            self._pipe, orders(chosen, 1, self._seed, iteration), self._schedule, self._texts, self._score,
            chunk=s.chunk, guidance=s.guidance, world=self.learner.world,
        )  # fmt: skip
        total = rollout.scored.total
        names = [prompt for _, prompt in chosen]
        advantage = tracked_advantages(total, names, progress.memory, s.history, s.history_min)
        advantage = np.clip(advantage, -s.advantage_clip, s.advantage_clip)
        progress.counts.pictures += len(total)
        progress.counts.reward_calls += len(total)
        progress.counts.unet_forwards += rollout.forwards
        trained = [step for step in range(s.steps) if self._schedule.stochastic[step]]
        row = improve(
            self._pipe, self.learner, self._schedule, rollout, advantage, [trained] * s.epochs,
            Rules(s.chunks_per_update, s.clip, kl=0.0, kl_every=1, guidance=s.guidance),
        )  # fmt: skip
        parts = {f"part_{name}": float(values.mean()) for name, values in sorted(rollout.scored.parts.items())}
        return {"reward": float(total.mean()), "diversity": variety(rollout.palettes)} | parts | row


def tracked_advantages(rewards: np.ndarray, prompts: list[str], memory: dict[str, list[float]], length: int, least: int) -> np.ndarray:
    """(N,) float64: rewards minus the mean, over the standard deviation, of the prompt's last rewards, or of all where those are few.

    Args:
        rewards: (N,).
        prompts: N.
        memory: last rewards by prompt; brought up to date here.
        length: rewards remembered per prompt.
        least: rewards that a prompt needs before its own statistics count.
    """
    rewards = np.asarray(rewards, np.float64)
    advantage = np.empty(len(rewards))
    names = np.array(prompts)
    for name in dict.fromkeys(prompts):
        rows = np.flatnonzero(names == name)
        past = memory[name] = [*memory.get(name, []), *rewards[rows].tolist()][-length:]
        known = np.array(past) if len(past) >= least else rewards
        advantage[rows] = (rewards[rows] - known.mean()) / (known.std() + 1e-6)
    return advantage
