import torch

from boig.language.model import load
from boig.reward import encoder
from boig.reward.states import States
from tests.boig.reward.conftest import World


def test_states_are_the_same_bytes_with_and_without_a_memory(world: World):
    model, tokenizer = load(world.boigllm)
    posts = world.tables.splits["train"]
    ids = encoder.tokens(posts.briefs[:40], posts.verbalizations[:40], tokenizer)
    whole = encoder.pooled(model.base_model, ids, tokenizer.pad_token_id)
    states = States(model.base_model, tokenizer.pad_token_id)
    assert torch.equal(states(ids[:7]), whole[:7])
    assert torch.equal(states([*ids[3:], ids[0], ids[0]]), torch.cat([whole[3:], whole[:1], whole[:1]]))
    assert states([]).shape == (0, whole.shape[1])


def test_nothing_is_computed_twice(world: World):
    model, tokenizer = load(world.boigllm)
    posts = world.tables.splits["train"]
    ids = encoder.tokens(posts.briefs[:9], posts.verbalizations[:9], tokenizer)
    passes = []
    model.base_model.register_forward_hook(lambda *_: passes.append(1))
    states = States(model.base_model, tokenizer.pad_token_id)
    first = states(ids)
    count = len(passes)
    assert count > 0
    assert torch.equal(states(ids[::-1]), first.flip(0))
    assert len(passes) == count
