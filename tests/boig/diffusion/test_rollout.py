"""Rollouts: shapes, order, overlap; and what features of pictures mean."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boig.diffusion.algorithms.policy import drawn, orders
from boig.diffusion.diversity import palette
from boig.diffusion.pipeline import load_base
from boig.diffusion.rollout import at_once, collect
from boig.diffusion.sampler import Schedule, generate
from boig.diffusion.text import TextCache
from boig.diffusion.world import World
from tests.boig.diffusion.tiny import BRIEFS, redness


def rollout_of(pipe, score, **changes):
    schedule = Schedule.of(pipe.scheduler.config, 3, 1.0)
    settings = {"chunk": 3, "guidance": 1.0, "world": World()} | changes
    return collect(pipe, orders(BRIEFS, 2, 7, 0), schedule, TextCache(pipe), score, **settings)


def test_a_rollout_holds_what_was_drawn_in_its_order(base):
    pipe = load_base(str(base), "")
    rollout = rollout_of(pipe, at_once(redness))
    assert [b.number for b in rollout.buffers] == [0, 1]
    assert rollout.buffers[0].latents.shape == (3, 4, 4, 4, 4)
    assert rollout.buffers[0].logprob.shape == (3, 3)
    assert rollout.scored.parts["brief"].tolist() == [0, 1, 2, 0, 1, 2]
    assert rollout.scored.total.dtype == np.float64
    assert rollout.forwards == 18
    made = orders(BRIEFS, 2, 7, 0)
    pictures = generate(pipe, [o.prompt for o in made], [o.seed for o in made], 3, 1.0, eta=1.0, batch_size=3)
    assert np.array_equal(rollout.scored.total, redness([o.brief for o in made], pictures).total)
    assert np.array_equal(rollout.palettes, palette(pictures))


def test_scoring_overlaps_drawing(base):
    """The first chunk's score may only come when the second chunk has been drawn: a serial reward would never end."""
    second, pool, calls = threading.Event(), ThreadPoolExecutor(2), []

    def score(briefs, pictures):
        calls.append(len(pictures))
        if len(calls) == 2:
            second.set()
        return pool.submit(lambda: redness(briefs, pictures) if second.wait(60) else None)

    rollout = rollout_of(load_base(str(base), ""), score)
    assert len(rollout.scored.total) == 6
    serial = rollout_of(load_base(str(base), ""), at_once(redness))
    assert np.array_equal(serial.scored.total, rollout.scored.total)


def test_guidance_doubles_the_passes(base):
    rollout = rollout_of(load_base(str(base), ""), at_once(redness), guidance=2.0)
    assert rollout.forwards == 36
    assert rollout.buffers[0].contrast is not None


def test_a_rollout_that_fills_no_chunks_is_refused(base):
    with pytest.raises(ValueError, match="6 pictures does not fill chunks of 4"):
        rollout_of(load_base(str(base), ""), at_once(redness), chunk=4)


@given(st.integers(1, 7), st.integers(0, 30), st.integers(1, 12), st.integers(0, 5))
def test_the_sequence_of_prompts_can_be_entered_anywhere(size, first, count, seed):
    prompts = [(BRIEFS[0][0], str(i)) for i in range(size)]
    whole = drawn(prompts, first + count, 0, seed)
    assert drawn(prompts, count, first, seed) == whole[first:]
    assert {p for _, p in whole[:size]} == {str(i) for i in range(min(size, len(whole)))} or len(whole) < size


def test_seeds_of_a_rollout_differ_between_pictures_and_iterations():
    first, second = orders(BRIEFS, 4, 7, 0), orders(BRIEFS, 4, 7, 1)
    assert len({o.seed for o in [*first, *second]}) == 24
    assert orders(BRIEFS, 4, 7, 0) == first
