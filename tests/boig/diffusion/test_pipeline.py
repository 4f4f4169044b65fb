"""Loading a base; adapters to disk and back."""

import numpy as np
import pytest
import torch

from boig.diffusion.pipeline import adapter_parameters, add_adapter, load_adapter, load_base, remove_adapter, save_adapter
from boig.diffusion.sampler import generate
from boig.diffusion.settings import Lora, Sampling

LORA = Lora(rank=2, alpha=4, targets=("to_q", "to_out.0", "conv1", "time_emb_proj"))
SAMPLING = Sampling(steps=3, guidance=1.5, kpi=("high", "low"))


def picture(pipe) -> np.ndarray:
    return generate(pipe, ["a cup"], [1], 3, 1.5, batch_size=1)


def test_an_adapter_comes_back_from_disk_as_it_was(base, tmp_path):
    pipe = load_base(str(base), "")
    plain = picture(pipe)
    add_adapter(pipe, LORA, seed=1)
    assert np.array_equal(picture(pipe), plain), "a fresh adapter must change nothing"
    with torch.no_grad():
        for parameter in adapter_parameters(pipe).values():
            parameter.add_(0.05)
    changed = picture(pipe)
    assert not np.array_equal(changed, plain)
    save_adapter(pipe, tmp_path / "a", SAMPLING)
    save_adapter(pipe, tmp_path / "b", SAMPLING)
    assert [f.read_bytes() for f in sorted((tmp_path / "a").iterdir())] == [f.read_bytes() for f in sorted((tmp_path / "b").iterdir())]
    again = load_base(str(base), "")
    assert load_adapter(again, tmp_path / "a") == SAMPLING
    assert np.array_equal(picture(again), changed)
    assert load_adapter(pipe, tmp_path / "a") == SAMPLING, "loading twice replaces"
    assert np.array_equal(picture(pipe), changed)
    remove_adapter(pipe)
    assert np.array_equal(picture(pipe), plain)


def test_diffusers_itself_can_load_the_adapter(base, tmp_path):
    pipe = load_base(str(base), "")
    add_adapter(pipe, LORA, seed=1)
    with torch.no_grad():
        for parameter in adapter_parameters(pipe).values():
            parameter.add_(0.05)
    save_adapter(pipe, tmp_path, SAMPLING)
    theirs = load_base(str(base), "")
    theirs.load_lora_weights(tmp_path)
    assert np.array_equal(picture(theirs), picture(pipe))


def test_a_fresh_adapter_is_a_function_of_its_seed(base):
    pipe = load_base(str(base), "")
    drawn = []
    for seed in (1, 1, 2):
        torch.rand(1)  # whatever the global generator did before
        add_adapter(pipe, LORA, seed)
        drawn.append(torch.cat([p.detach().flatten() for p in adapter_parameters(pipe).values()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_half_precision_base_has_a_float32_adapter(base):
    pipe = load_base(str(base), "", dtype="bfloat16")
    add_adapter(pipe, LORA, seed=1)
    assert pipe.unet.dtype == torch.bfloat16
    assert {p.dtype for p in adapter_parameters(pipe).values()} == {torch.float32}
    assert picture(pipe).shape == (1, 16, 16, 3)


def test_bad_input_is_one_line(base, tmp_path):
    cases = [
        (lambda: load_base("base/missing", ""), FileNotFoundError, "base/missing.*make base"),
        (lambda: load_base(str(tmp_path), ""), ValueError, "model_index.json"),
        (lambda: load_base(str(base), "", dtype="float8"), ValueError, "float8.*float32"),
        (lambda: load_adapter(load_base(str(base), ""), tmp_path / "none"), FileNotFoundError, "none has no pytorch_lora"),
        (lambda: add_adapter(load_base(str(base), ""), LORA.model_copy(update={"targets": ("nowhere",)}), 1), ValueError, "nowhere"),
    ]
    for call, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
