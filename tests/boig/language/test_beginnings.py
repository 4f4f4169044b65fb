"""Texts whose common beginning is computed once: the same losses and gradients as text by text."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from boig.language import beginnings, sft
from boig.language.examples import validation_texts
from boig.language.packing import AnswerTrainer, cross_entropy, packed
from boig.language.smoothing import IGNORED
from tests.boig.language.test_examples import SETTINGS
from tests.boig.language.test_sft import tiny


@st.composite
def batches(draw) -> list[tuple[list[int], int]]:
    """Texts of tokens 0–59, each with the number of tokens of its prompt; some begin alike, some are the same."""
    tokens = st.lists(st.integers(0, 59), min_size=1, max_size=6)
    openings = draw(st.lists(st.lists(st.integers(0, 59), max_size=9), min_size=1, max_size=2))
    texts = []
    for _ in range(draw(st.integers(1, 6))):
        prompt = draw(st.sampled_from(openings)) + draw(tokens)
        texts.append((prompt + draw(tokens), len(prompt)))
    return texts


def row(texts: list[tuple[list[int], int]]) -> dict[str, torch.Tensor | int]:
    """What TRL's collator makes of them."""
    lengths = [len(ids) for ids, _ in texts]
    starts = torch.tensor([0, *lengths]).cumsum(0).int()
    return {
        "input_ids": torch.tensor([token for ids, _ in texts for token in ids])[None],
        "labels": torch.tensor([label for ids, prompt in texts for label in [IGNORED] * prompt + ids[prompt:]])[None],
        "position_ids": torch.cat([torch.arange(n) for n in lengths])[None],
        "cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": max(lengths), "max_length_k": max(lengths),
    }  # fmt: skip


def losses(model: PreTrainedModel, texts: list[tuple[list[int], int]]) -> torch.Tensor:
    """Nats of all answer tokens, text by text."""
    found = []
    for ids, prompt in texts:
        logits = model(input_ids=torch.tensor(ids)[None]).logits[0, prompt - 1 : -1]
        found.append(cross_entropy(logits, torch.tensor(ids[prompt:])))
    return torch.cat(found)


@pytest.fixture(scope="module")
def trainer(words, posts, tmp_path_factory) -> AnswerTrainer:
    """Of which the loss alone is used."""
    model, folder = tiny("llama"), tmp_path_factory.mktemp("trainer")
    data = sft.dataset(validation_texts(posts[:2]), words, 512)
    return AnswerTrainer(
        model, args=sft._arguments(SETTINGS, 64, False, Path(folder), 1, 1, model), train_dataset=data, processing_class=words,
        token_loss=cross_entropy,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral"])
@given(texts=batches(), least=st.integers(1, 5))
@settings(max_examples=25)
def test_the_loss_and_its_gradient_are_those_of_each_text_alone(kind, trainer, texts, least):
    model = tiny(kind)
    alone = losses(model, texts).mean()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beginnings, "MIN_TOKENS", least)
        with packed(model):
            together = trainer.compute_loss(model, row(texts))
    assert together.item() == pytest.approx(alone.item(), rel=1e-4)
    weights = [p for name, p in model.named_parameters() if "q_proj.weight" in name or "v_proj.weight" in name or "embed" in name]
    for ours, theirs in zip(torch.autograd.grad(together, weights), torch.autograd.grad(alone, weights), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_common_beginning_stands_once():
    ids = torch.tensor([1, 2, 3, 4, 5, 1, 2, 3, 9, 8, 7, 7, 7, 7])
    labels = torch.tensor([IGNORED] * 4 + [5] + [IGNORED] * 4 + [8] + [IGNORED] * 3 + [7])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beginnings, "MIN_TOKENS", 2)
        found = beginnings.layout(ids, labels, torch.tensor([0, 5, 10, 14]), IGNORED)
    assert found is not None
    assert ids[found.take].tolist() == [1, 2, 3, 4, 5, 9, 8, 7, 7, 7, 7]
    assert (found.segments, found.shared) == ((3, 2, 2, 4), (2,))


def test_each_of_two_equal_texts_predicts_its_own_answer():
    ids, labels = torch.tensor([1, 2, 3, 4] * 2), torch.tensor([IGNORED, IGNORED, IGNORED, 4] * 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beginnings, "MIN_TOKENS", 1)
        found = beginnings.layout(ids, labels, torch.tensor([0, 4, 8]), IGNORED)
    assert found is not None
    assert ids[found.take].tolist() == [1, 2, 3, 4, 3, 4]


def test_short_beginnings_stay():
    assert beginnings.layout(torch.tensor([1, 2, 3] * 2), torch.tensor([IGNORED, IGNORED, 3] * 2), torch.tensor([0, 3, 6]), IGNORED) is None
