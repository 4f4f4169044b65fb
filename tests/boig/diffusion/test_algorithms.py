"""The methods on a tiny base: the ratio starts at 1, rewards rise, interruptions leave no trace."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boig.diffusion.algorithms.ddpo import PublishedDdpo, tracked_advantages
from boig.diffusion.algorithms.group import GroupRelative, group_advantages, stochasticity
from boig.diffusion.algorithms.kpi_guided import KpiGuidance
from boig.diffusion.algorithms.pft import LikedPictures, liking
from boig.diffusion.algorithms.supervised import Examples, encode
from boig.diffusion.diversity import palette, variety
from boig.diffusion.learner import Learner
from boig.diffusion.pipeline import adapter_parameters, add_adapter, load_base
from boig.diffusion.rollout import at_once
from boig.diffusion.sampler import generate
from boig.diffusion.settings import Ddpo, KpiGuided, Supervised
from boig.diffusion.text import TextCache
from boig.diffusion.training import Guard, run
from boig.diffusion.world import World
from boig.reporting import Silent
from tests.boig.diffusion.tiny import BRIEFS, GROUP, LORA, OPTIMIZER, SHARED, redness

DDPO = Ddpo(
    iterations=6, steps=4, eta=1.0, guidance=1.0, pictures=16, chunk=8, chunks_per_update=1, epochs=1, clip=1e-3, advantage_clip=10.0,
    history=16, history_min=16, prompts=2, **SHARED,
)  # fmt: skip
PFT = Supervised(iterations=4, batch_size=4, floor=50, sharpness=1.0, dropout=0.2, **SHARED)
KPI = KpiGuided(iterations=4, batch_size=4, dropout=0.2, **SHARED)


def examples(pipe) -> Examples:
    pictures = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    return Examples(tuple("abcdef"), np.linspace(0, 100, 6), ("low", "low", "low", "medium", "high", "high"), encode(pipe, list(pictures)))


def built(base, method: str, **changes):
    """A pipeline with a fresh adapter, and the method on it."""
    pipe = load_base(str(base), "")
    add_adapter(pipe, LORA, seed=3)
    learner, texts = Learner(pipe, OPTIMIZER, World()), TextCache(pipe)
    toy = at_once(redness)
    makers = {
        "group": lambda: GroupRelative(pipe, learner, GROUP.model_copy(update=changes), BRIEFS, toy, texts, seed=1),
        "ddpo": lambda: PublishedDdpo(pipe, learner, DDPO.model_copy(update=changes), BRIEFS, toy, texts, seed=1),
        "pft": lambda: LikedPictures(pipe, learner, PFT, examples(pipe), texts, seed=1),
        "kpi_guided": lambda: KpiGuidance(pipe, learner, KPI, examples(pipe), texts, seed=1),
    }
    return pipe, makers[method]()


def panel(pipe, iteration: int) -> dict[str, float]:
    pictures = generate(pipe, ["a cup 1"] * 4, [1, 2, 3, 4], 3, 1.0, batch_size=4)
    return {"judge": float(pictures[..., 0].mean()), "diversity": variety(palette(pictures))}


def finish(pipe, algorithm, iterations, checkpoint, guard=None):
    run(algorithm, iterations, look=partial(panel, pipe), looks=2, guard=guard, checkpoint=checkpoint, report=Silent())
    return algorithm.learner


@pytest.mark.parametrize(("method", "changes"), [("group", {}), ("group", {"window": 2}), ("group", {"trained_steps": 2}), ("ddpo", {})])
def test_before_the_first_update_the_ratio_is_one(base, method, changes):
    _, algorithm = built(base, method, **changes)
    row = algorithm.step(0)
    assert row["start_ratio_error"] <= 1e-6
    assert row["grad_norm"] > 0
    algorithm.learner.progress.iteration += 1
    assert algorithm.step(1)["start_ratio_error"] <= 1e-6, "each rollout is drawn by the policy that is then trained"


@pytest.mark.parametrize("method", ["group", "ddpo"])
def test_the_reward_rises(base, method):
    pipe, algorithm = built(base, method, chunk=4, clip=1e-2)
    before = panel(pipe, 0)["judge"]
    rewards = []
    for iteration in range(6):
        rewards.append(algorithm.step(iteration)["reward"])
        algorithm.learner.progress.iteration += 1
    assert panel(pipe, 0)["judge"] > before + 1, rewards
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]), rewards


@pytest.mark.parametrize("method", ["group", "ddpo", "pft", "kpi_guided"])
def test_an_interrupted_run_ends_in_the_same_bits(base, method, tmp_path):
    pipe, algorithm = built(base, method)
    whole = finish(pipe, algorithm, 4, tmp_path / "whole.safetensors")
    pipe, algorithm = built(base, method)
    step, left = algorithm.step, [3]

    def dies(iteration):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return step(iteration)

    algorithm.step = dies
    with pytest.raises(KeyboardInterrupt):
        finish(pipe, algorithm, 4, tmp_path / "cut.safetensors")
    torch.rand(3)  # whatever happened to global randomness in between
    pipe, algorithm = built(base, method)
    resumed = finish(pipe, algorithm, 4, tmp_path / "cut.safetensors")
    assert resumed.progress == whole.progress
    for mine, theirs in ((resumed.parameters, whole.parameters), (resumed.average, whole.average), (resumed.best, whole.best)):
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert (tmp_path / "cut.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_supervised_training_lowers_its_loss(base):
    _, algorithm = built(base, "pft")
    losses = [algorithm.step(0)["loss"] for _ in range(8)]  # the same pictures, noise and timesteps each time
    assert losses[-1] < losses[0]


def test_the_guard_ships_the_best_look_and_stops(base, tmp_path):
    pipe, algorithm = built(base, "group")
    judged = iter([10.0, 12.0, 11.0, 10.5, 99.0])
    run(
        algorithm, 10, look=lambda _: {"judge": next(judged), "diversity": 1.0}, looks=5, guard=Guard(2, 0.7, 0.05),
        checkpoint=tmp_path / "c.safetensors", report=Silent(),
    )  # fmt: skip
    learner = algorithm.learner
    assert learner.progress.best == 1
    assert len(learner.progress.looks) == 4
    assert learner.progress.iteration == 6
    assert not all(torch.equal(learner.best[name], learner.average[name]) for name in learner.best)
    with learner.chosen():
        assert all(torch.equal(p, learner.best[name]) for name, p in adapter_parameters(pipe).items())


def test_the_guard_refuses_a_look_that_lost_diversity_or_products():
    guard, base = Guard(2, 0.7, 0.05), {"judge": 1.0, "diversity": 1.0, "mismatch": 0.1}
    assert guard.allows({"judge": 2.0, "diversity": 0.71, "mismatch": 0.14}, base)
    assert not guard.allows({"judge": 2.0, "diversity": 0.69, "mismatch": 0.1}, base)
    assert not guard.allows({"judge": 2.0, "diversity": 1.0, "mismatch": 0.16}, base)


def test_a_checkpoint_of_another_adapter_is_refused(base, tmp_path):
    pipe, algorithm = built(base, "group")
    algorithm.learner.save(tmp_path / "c.safetensors")
    add_adapter(pipe, LORA.model_copy(update={"targets": ("to_q",)}), seed=3)
    with pytest.raises(ValueError, match="belongs to another adapter; delete it"):
        Learner(pipe, OPTIMIZER, World()).restore(tmp_path / "c.safetensors")


@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 1000), st.floats(0.1, 100), st.floats(-50, 50))
def test_advantages_are_centered_within_the_prompt_and_free_of_units(prompts, size, seed, unit, shift):
    rng = np.random.default_rng(seed)
    groups = np.arange(prompts * size) % prompts
    total = rng.normal(size=len(groups)) + groups * 10
    found = group_advantages({"total": total}, {"total": 1.0}, groups, 100.0)
    assert np.allclose([found.values[groups == g].sum() for g in range(prompts)], 0, atol=1e-8)
    assert np.isclose((found.values**2).mean(), 1)
    assert np.allclose(group_advantages({"total": total * unit + shift}, {"total": 1.0}, groups, 100.0).values, found.values, atol=1e-6)
    assert (np.abs(group_advantages({"total": total}, {"total": 1.0}, groups, 0.5).values) <= 0.5 + 1e-12).all()


def test_groups_without_spread_are_dropped_and_integers_are_not_truncated():
    groups = np.array([0, 0, 1, 1])
    found = group_advantages({"total": np.array([1, 2, 5, 5])}, {"total": 1.0}, groups, 5.0)
    assert found.kept == 0.5
    assert found.values[2:].tolist() == [0, 0]
    assert found.values[0] == -found.values[1] != 0
    nothing = group_advantages({"total": np.ones(4)}, {"total": 1.0}, groups, 5.0)
    assert nothing.kept == 0
    assert not nothing.values.any()
    with pytest.raises(ValueError, match="taste"):
        group_advantages({"total": np.ones(4)}, {"taste": 1.0}, groups, 5.0)


def test_tracked_advantages_use_the_prompts_own_history_once_it_is_long_enough():
    memory: dict[str, list[float]] = {}
    rewards = np.array([1, 3, 10, 20])
    first = tracked_advantages(rewards, ["a", "a", "b", "b"], memory, length=3, least=3)
    assert np.allclose(first, (rewards - rewards.mean()) / rewards.std(), atol=1e-5)
    second = tracked_advantages(np.array([5.0, 0.0]), ["a", "c"], memory, length=3, least=3)
    assert memory["a"] == [1, 3, 5]
    assert np.isclose(second[0], (5 - 3) / np.std([1, 3, 5]), atol=1e-5)


def test_the_window_slides_from_noise_to_picture():
    settings = GROUP.model_copy(update={"steps": 5, "skip_last": 1, "window": 2})
    etas = [stochasticity(settings, i) for i in range(4)]
    assert etas == [[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [1, 1, 0, 0, 0]]
    assert stochasticity(GROUP, 3) == [1, 1, 1, 0]


def test_liked_pictures_are_drawn_more_often():
    chance = liking(np.array([10.0, 50.0, 100.0]), floor=50, sharpness=2.0)
    assert chance[0] == 0
    assert np.isclose(chance[2] / chance[1], np.exp(1.0))
    assert np.isclose(chance.sum(), 1)
    with pytest.raises(ValueError, match="floor"):
        liking(np.array([10.0]), floor=50, sharpness=0.0)


def test_a_window_that_does_not_fit_is_refused(base):
    pipe, algorithm = built(base, "group")
    with pytest.raises(ValueError, match="no room for a window of 4"):
        GroupRelative(pipe, algorithm.learner, GROUP.model_copy(update={"window": 4}), BRIEFS, at_once(redness), TextCache(pipe), seed=1)


def test_pictures_of_any_size_are_encoded_at_the_bases_size(base):
    pipe = load_base(str(base), "")
    assert encode(pipe, [np.zeros((40, 20, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)]).shape == (2, 4, 4, 4)
