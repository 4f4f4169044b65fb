"""Ranks that train together."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from boig.diffusion.world import World
from tests.conftest import free_port


def test_a_process_alone_is_a_world():
    world = World.here()
    assert world == World(0, 1)
    assert [i for i in range(4) if world.owns(i)] == [0, 1, 2, 3]
    assert world.merge({1: "b", 0: "a"}) == ["a", "b"]
    tensor = torch.ones(2)
    world.add([tensor])
    assert tensor.tolist() == [1, 1]


def test_items_are_dealt_out_in_turn():
    assert [i for i in range(5) if World(1, 2).owns(i)] == [1, 3]


def _rank(rank: int, size: int, port: int, base: str, out: str) -> None:
    from boig.diffusion.algorithms.group import GroupRelative
    from boig.diffusion.learner import Learner
    from boig.diffusion.pipeline import add_adapter, load_base
    from boig.diffusion.rollout import at_once
    from boig.diffusion.text import TextCache
    from tests.boig.diffusion.tiny import BRIEFS, GROUP, redness

    torch.set_num_threads(1)
    if size > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        dist.init_process_group("gloo", rank=rank, world_size=size)
    pipe = load_base(base, "")
    settings = GROUP.model_copy(update={"chunk": 4, "chunks_per_update": 2})
    add_adapter(pipe, settings.lora, seed=3)
    learner = Learner(pipe, settings.optimizer, World.here())
    algorithm = GroupRelative(pipe, learner, settings, BRIEFS, at_once(redness), TextCache(pipe), seed=1)
    row = algorithm.step(0)
    flat = torch.cat([p.detach().flatten() for p in learner.parameters.values()])
    np.savez(Path(out) / f"{size}_{rank}.npz", weights=flat.numpy(), reward=row["reward"], passes=learner.progress.counts.unet_forwards)


@pytest.mark.slow
def test_two_ranks_train_like_one(base, tmp_path):
    mp.spawn(_rank, (2, free_port(), str(base), str(tmp_path)), nprocs=2)
    _rank(0, 1, 0, str(base), str(tmp_path))
    one, first, second = (np.load(tmp_path / name) for name in ("1_0.npz", "2_0.npz", "2_1.npz"))
    assert np.array_equal(first["weights"], second["weights"])
    assert first["reward"] == second["reward"] == one["reward"]
    assert first["passes"] == one["passes"]
    # Adam's first steps follow the sign of the gradient, which differs only where it is a rounding error.
    assert np.mean(np.abs(first["weights"] - one["weights"]) > 1e-4) < 0.01
