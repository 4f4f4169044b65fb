from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from peft import PeftModel

from boig.language.model import load
from boig.reporting import Silent
from boig.reward.engagement import Engagement, check
from boig.reward.rows import Posts
from tests.boig.reward.conftest import World


class _Killed(Exception):
    pass


class _Killer(Silent):
    """Stops the run after some curves."""

    def __init__(self, after: int):
        self.left = after

    def curve(self, step: int, **values: float) -> None:
        self.left -= 1
        if self.left < 0:
            raise _Killed


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_it_learns_the_toy_law_on_posts_it_has_not_seen(world: World, trained: Engagement):
    held_out = [world.tables.splits[s] for s in ("test_time", "test_account", "judge")]
    kpi = np.concatenate([p.kpi for p in held_out])
    mean = np.concatenate([trained.predict(p.briefs, p.verbalizations)[0] for p in held_out])
    assert np.corrcoef(mean, kpi)[0, 1] > 0.2


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_an_interrupted_training_ends_with_the_same_bytes(world: World, tmp_path: Path, lora_rank: int):
    rule = {"lora_rank": lora_rank, "epochs": 3}
    world.train(tmp_path / "whole_work", **rule).save(tmp_path / "whole")
    with pytest.raises(_Killed):
        world.train(tmp_path / "cut_work", _Killer(after=14), **rule)
    assert any((tmp_path / "cut_work").glob("checkpoint-*/average.json"))
    world.train(tmp_path / "cut_work", **rule).save(tmp_path / "cut")
    assert _bytes(tmp_path / "cut") == _bytes(tmp_path / "whole")


def test_an_adapter_is_saved_and_leaves_boigllm_as_it_was(world: World, tmp_path: Path):
    posts = world.tables.splits["val"]
    trained = world.train(tmp_path / "work", lora_rank=2, epochs=2)
    assert isinstance(trained.backbone, PeftModel)
    trained.save(tmp_path / "saved")
    model, tokenizer = load(world.boigllm)
    again = Engagement.load(tmp_path / "saved", model.base_model, tokenizer)
    assert again.predict(posts.briefs, posts.verbalizations)[0] == pytest.approx(
        trained.predict(posts.briefs, posts.verbalizations)[0], abs=1e-6
    )
    with again.without_adapter():
        assert not np.allclose(
            again.predict(posts.briefs, posts.verbalizations)[0], trained.predict(posts.briefs, posts.verbalizations)[0], atol=1e-6
        )


def test_a_loss_that_is_not_a_number_is_an_error(world: World, tmp_path: Path):
    with pytest.raises(ValueError, match="learning_rate"):
        world.train(tmp_path, learning_rate=1e30, max_grad_norm=1e30, epochs=2)


def test_what_nothing_can_be_learnt_from_is_refused(world: World):
    train, val = world.tables.splits["train"], world.tables.splits["val"]
    with pytest.raises(ValueError, match="constant"):
        check(replace(train, kpi=np.full(len(train), 7.0)), val)
    with pytest.raises(ValueError, match="within 0–100"):
        check(replace(train, kpi=train.kpi * 10), val)
    with pytest.raises(ValueError, match="split val"):
        check(train, Posts([], [], np.zeros(0)))
