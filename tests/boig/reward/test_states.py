import torch

from boig.language.model import load
from boig.reward import encoder
from boig.reward.continuing import Prompts
from boig.reward.states import States
from tests.boig.reward.conftest import World


def at(asked: Prompts, rows) -> Prompts:
    """Some of the prompts."""
    return Prompts([asked.ids[i] for i in rows], [asked.starts[i] for i in rows])


def test_states_are_the_same_bytes_with_and_without_a_memory(world: World):
    model, tokenizer = load(world.boigllm)
    posts = world.tables.splits["train"]
    asked = encoder.prompts(posts.briefs[:40], posts.verbalizations[:40], tokenizer)
    whole = encoder.pooled(model.base_model, asked, tokenizer.pad_token_id)
    states = States(model.base_model, tokenizer.pad_token_id)
    assert torch.equal(states(at(asked, range(7))), whole[:7])
    assert torch.equal(states(at(asked, [*range(3, 40), 0, 0])), torch.cat([whole[3:], whole[:1], whole[:1]]))
    assert states(at(asked, [])).shape == (0, whole.shape[1])


def test_nothing_is_computed_twice(world: World):
    model, tokenizer = load(world.boigllm)
    posts = world.tables.splits["train"]
    asked = encoder.prompts(posts.briefs[:9], posts.verbalizations[:9], tokenizer)
    passes = []
    model.base_model.register_forward_hook(lambda *_: passes.append(1))
    states = States(model.base_model, tokenizer.pad_token_id)
    first = states(asked)
    count = len(passes)
    assert count > 0
    assert torch.equal(states(at(asked, range(8, -1, -1))), first.flip(0))
    assert len(passes) == count
