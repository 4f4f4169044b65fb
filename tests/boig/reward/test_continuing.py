"""Shared beginnings against each prompt by itself, without padding and without a cache."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import (
    GemmaConfig,
    GemmaModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
)

from boig.reward import continuing, encoder
from boig.reward.continuing import Prompts
from tests.boig.reward.conftest import World

SIZES = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
    "intermediate_size": 24, "max_position_embeddings": 96, "initializer_range": 0.3, "pad_token_id": 0,
}  # fmt: skip


def models() -> dict[str, PreTrainedModel]:
    torch.manual_seed(0)
    return {
        "llama": LlamaModel(LlamaConfig(**SIZES)).eval(),
        "qwen2": Qwen2Model(Qwen2Config(**SIZES)).eval(),
        "gemma": GemmaModel(GemmaConfig(**SIZES)).eval(),
        "gpt2": GPT2Model(GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=4, n_positions=96, initializer_range=0.3)).eval(),
        "mistral, a sliding window": MistralModel(MistralConfig(**SIZES, sliding_window=8)).eval(),
        "llama with an adapter": get_peft_model(
            LlamaModel(LlamaConfig(**SIZES)), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        ).eval(),
    }


MODELS = models()


@torch.no_grad()
def alone(model: PreTrainedModel, ids: list[int]) -> np.ndarray:
    states = model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]
    return torch.cat([states.mean(0), states[-1]]).numpy()


def some(seed: int, groups: list[int], longest: int = 40) -> Prompts:
    """Random prompts; `groups[g]` of them begin alike."""
    rng = np.random.default_rng(seed)
    ids, starts = [], []
    for members in groups:
        begin = rng.integers(1, 60, rng.integers(0, longest)).tolist()
        for _ in range(members):
            ids.append(begin + rng.integers(1, 60, rng.integers(1, longest)).tolist())
            starts.append(len(begin))
    return Prompts(ids, starts)


@pytest.mark.parametrize("name", MODELS)
def test_states_are_those_of_each_prompt_by_itself(name: str):
    asked = some(1, [1, 8, 3, 1, 11, 2])
    found = continuing.pooled(MODELS[name], asked, pad=0).numpy()
    assert found == pytest.approx(np.stack([alone(MODELS[name], ids) for ids in asked.ids]), abs=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.lists(st.integers(1, 10), min_size=1, max_size=6), st.data())
def test_states_do_not_depend_on_order_or_company(seed: int, groups: list[int], data: st.DataObject):
    asked = some(seed, groups)
    whole = continuing.pooled(MODELS["llama"], asked, pad=0)
    chosen = data.draw(st.lists(st.sampled_from(range(len(asked.ids))), unique=True))
    part = continuing.pooled(MODELS["llama"], Prompts([asked.ids[i] for i in chosen], [asked.starts[i] for i in chosen]), pad=0)
    assert (whole[chosen] - part).abs().max() <= 1e-6 if chosen else len(part) == 0


def test_more_beginnings_than_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch):
    asked = some(2, [2] * 13)
    whole = continuing.pooled(MODELS["llama"], asked, pad=0)
    monkeypatch.setattr(continuing, "HELD", 3)
    assert torch.equal(continuing.pooled(MODELS["llama"], asked, pad=0), whole)


def test_each_beginning_is_run_once(monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []
    model = LlamaModel(LlamaConfig(**SIZES)).eval()
    model.register_forward_pre_hook(lambda _, args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True)
    rng = np.random.default_rng(0)
    begin = rng.integers(1, 60, 60).tolist()
    continuing.pooled(model, Prompts([begin + rng.integers(1, 60, 5).tolist() for _ in range(40)], [60] * 40), pad=0)
    assert read == [64, 8, 8]


def test_pictures_of_a_brief_begin_alike_up_to_the_picture(world: World, trained):
    posts, tokenizer = world.tables.splits["train"], trained.tokenizer
    briefs, texts = [posts.briefs[0]] * 6 + [replace(posts.briefs[1], caption='"}{"[')] * 2, posts.verbalizations[:8]
    asked = encoder.prompts(briefs, texts, tokenizer)
    begins = [tokenizer.decode(ids[:start]) for ids, start in zip(asked.ids, asked.starts, strict=True)]
    assert len(set(begins)) == 2
    assert begins[0].endswith(posts.briefs[0].caption)
    assert asked.ids == encoder.tokens(briefs, texts, tokenizer)
    bare = encoder.prompts(briefs[:1], [encoder._NOTHING], tokenizer)
    assert bare.starts[0] == len(bare.ids[0]) - 1
