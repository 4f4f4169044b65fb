"""Rows with shared beginnings against each row read as a whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from boig.language.cascade import Buffer, Cascade, attending, beginning, cascades

SIZES = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
    "intermediate_size": 24, "max_position_embeddings": 200, "initializer_range": 0.3, "pad_token_id": 0,
}  # fmt: skip


def models() -> dict[str, PreTrainedModel]:
    torch.manual_seed(0)
    return {
        "llama": LlamaForCausalLM(LlamaConfig(**SIZES)).eval(),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**SIZES)).eval(),
        "gemma": GemmaForCausalLM(GemmaConfig(**SIZES)).eval(),
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=4, n_positions=200, initializer_range=0.3)).eval(),
        "llama with an adapter": get_peft_model(
            LlamaForCausalLM(LlamaConfig(**SIZES)), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        ).eval(),
    }


MODELS = models()


@torch.no_grad()
def alone(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]


@settings(max_examples=40)
@given(st.data())
def test_logits_are_those_of_the_whole_row(data):
    model = MODELS[data.draw(st.sampled_from(sorted(MODELS)))]
    piece = st.lists(st.integers(1, 59), min_size=1, max_size=9)
    prefix, prompts = data.draw(st.one_of(st.just([]), piece)), data.draw(st.lists(piece, min_size=1, max_size=4))
    each, steps = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 5))
    texts = [prefix + prompt for prompt in prompts for _ in range(each)]
    with attending(model), torch.inference_mode():
        cascade = Cascade(model, beginning(model, prefix) if prefix else None, prompts, each, 0)
        for _ in range(steps):
            _assert_equal(cascade, model, texts)
            tokens = data.draw(st.lists(st.integers(1, 59), min_size=len(texts), max_size=len(texts)))
            cascade.step(torch.tensor(tokens))
            texts = [[*text, token] for text, token in zip(texts, tokens, strict=True)]
            if data.draw(st.booleans()):
                groups = len(texts) // each
                stay = sorted(data.draw(st.sets(st.integers(0, groups - 1), min_size=1)))
                left = data.draw(st.integers(1, each))
                rows = [g * each + n for g in stay for n in range(left)]
                cascade.keep(torch.tensor(stay), torch.tensor(rows))
                texts, each = [texts[row] for row in rows], left
    _assert_equal(cascade, model, texts)


def _assert_equal(cascade: Cascade, model: PreTrainedModel, texts: list[list[int]]) -> None:
    implementation = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    expected = torch.stack([alone(model, text) for text in texts])
    model.set_attn_implementation(implementation)
    torch.testing.assert_close(cascade.logits, expected, atol=2e-5, rtol=1e-4)


def test_a_long_text_grows_its_buffer():
    model, text = MODELS["llama"], [3, 4]
    with attending(model), torch.inference_mode():
        cascade = Cascade(model, None, [text], 1, 0)
        for token in range(1, 60):
            cascade.step(torch.tensor([token]))
        for token in range(1, 60):
            cascade.step(torch.tensor([token]))
    _assert_equal(cascade, model, [text + [*range(1, 60)] * 2])


def test_the_model_attends_as_before_afterwards():
    model = MODELS["llama"]
    with pytest.raises(KeyError), attending(model):
        raise KeyError
    assert model.config._attn_implementation == "sdpa"
    assert cascades(model)


def test_windows_and_other_kernels_do_not_cascade():
    assert not cascades(MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8)))
    eager = LlamaForCausalLM._from_config(LlamaConfig(**SIZES), attn_implementation="eager")
    assert not cascades(eager)


def test_a_buffer_returns_what_was_written():
    buffer, rows = Buffer(), torch.arange(2 * 3 * 100 * 4.0).view(2, 3, 100, 4)
    for start in range(0, 100, 7):
        keys, values = buffer.update(rows[:, :, start : start + 7], -rows[:, :, start : start + 7])
        assert torch.equal(keys, rows[:, :, : start + 7])
        assert torch.equal(values, -keys)
    buffer.keep(torch.tensor([1]))
    assert torch.equal(buffer.keys, rows[1:])
