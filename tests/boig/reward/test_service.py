"""Briefs and pictures in, scores out: in any order and company, with or without a cache; mistakes are named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boig.brief import Brief
from boig.params import load
from boig.reward.scorer import Reward
from boig.reward.service import Service
from boig.simulator.render import render
from boig.simulator.scenes import sample_scene
from boig.verbalizer.verbalizer import Verbalizer, build
from tests.boig.reward.conftest import World

ALL = {"engagement": 1.0, "design": 0.5, "mismatch": -20.0}


class Counting(Verbalizer):
    """Counts the pictures that it looks at."""

    def __init__(self, inner: Verbalizer):
        super().__init__(inner.detector, inner.captioner, inner.min_coverage)
        self.seen = 0

    def verbalize(self, pictures):
        self.seen += len(pictures)
        return super().verbalize(pictures)


@pytest.fixture(scope="module")
def verbalizer() -> Verbalizer:
    return build(load("align_boigsd").verbalizer)


@pytest.fixture(scope="module")
def asked(world: World) -> tuple[list[Brief], np.ndarray]:
    """Groups of 1, 8, 3 and 4 pictures."""
    rng = np.random.default_rng(0)
    briefs = [b for b, n in zip(world.tables.splits["train"].briefs, (1, 8, 3, 4), strict=False) for _ in range(n)]
    return briefs, np.stack([render(sample_scene(rng), 64) for _ in briefs])


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_score_depends_on_brief_and_picture_alone(data: st.DataObject, verbalizer, saved: Path, asked):
    briefs, pictures = asked
    reward = Reward.load(saved, ALL)
    whole = Service(verbalizer, reward)(briefs, pictures)
    chosen = data.draw(st.lists(st.sampled_from(range(len(briefs))), min_size=1))
    part = Service(verbalizer, Reward.load(saved, ALL))([briefs[i] for i in chosen], pictures[chosen])
    assert np.abs(part.total - whole.total[chosen]).max() < 1e-5
    assert np.abs(part.uncertainty - whole.uncertainty[chosen]).max() < 1e-5
    assert np.ptp(whole.total) > 1


def test_equal_content_is_worked_on_once(verbalizer, saved: Path, asked):
    briefs, pictures = asked
    eyes = Counting(verbalizer)
    service = Service(eyes, Reward.load(saved))
    first = service(briefs, pictures)
    assert eyes.seen == len(pictures)
    again = service([replace(b, post_id="another") for b in briefs], pictures.copy())
    assert eyes.seen == len(pictures)
    assert np.array_equal(again.total, first.total)
    changed = pictures.copy()
    changed[3] = 255 - changed[3]
    assert (service(briefs, changed).total != first.total).nonzero()[0].tolist() == [3]
    assert eyes.seen == len(pictures) + 1


@pytest.mark.slow
def test_a_pool_of_actors_answers_as_the_plain_service(verbalizer, saved: Path, asked):
    import ray

    from flows.on_ray import ActorPool

    briefs, pictures = asked
    plain = Service(verbalizer, Reward.load(saved, ALL))(briefs, pictures)
    arguments = {"verbalizer": load("align_boigsd").verbalizer, "reward": saved.resolve(), "weights": ALL}
    try:
        with ActorPool(Service.load, arguments, size=2, cpus=1) as pool:
            futures = [pool.submit(briefs[at : at + 4], pictures[at : at + 4]) for at in range(0, len(briefs), 4)]
            pooled = [future.result() for future in futures]
            with pytest.raises(ValueError, match="1 briefs for 2 pictures"):
                pool.submit(briefs[:1], pictures[:2]).result()
    finally:
        ray.shutdown()
    assert np.abs(np.concatenate([scores.total for scores in pooled]) - plain.total).max() < 1e-5
    assert np.abs(np.concatenate([scores.uncertainty for scores in pooled]) - plain.uncertainty).max() < 1e-5


def test_nothing_is_no_score(verbalizer, saved: Path):
    scores = Service(verbalizer, Reward.load(saved))([], np.zeros((0, 64, 64, 3), np.uint8))
    assert len(scores.total) == len(scores.uncertainty) == 0


def test_mistakes_are_named(verbalizer, saved: Path, asked):
    briefs, pictures = asked
    service = Service(verbalizer, Reward.load(saved))
    with pytest.raises(ValueError, match="15 briefs for 16 pictures"):
        service(briefs[:15], pictures)
    with pytest.raises(ValueError, match="uint8"):
        service(briefs, pictures / 255)
    with pytest.raises(ValueError, match="tokens"):
        service([replace(briefs[0], caption="word " * 4000)], pictures[:1])

    class Speechless:
        def caption(self, pictures, objects, colors):
            raise ValueError("no usable sentence for picture 0")

    with pytest.raises(ValueError, match="no usable sentence"):
        Service(Verbalizer(verbalizer.detector, Speechless(), 0.03), Reward.load(saved))(briefs, pictures)


def test_a_score_that_is_no_number_is_refused(verbalizer, saved: Path, asked):
    briefs, pictures = asked
    reward = Reward.load(saved)
    reward._engagement.head.bias.data[:] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        Service(verbalizer, reward)(briefs, pictures)
