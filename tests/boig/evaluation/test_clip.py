"""A CLIP-like model from a folder: unit features, one score per prompt and picture, whatever the batch."""

import json

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from boig.evaluation.clip import Clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A random CLIP of two layers of 16 dimensions."""
    path = tmp_path_factory.mktemp("clip")
    letters = [chr(c) for c in range(97, 123)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = shape | {
        "vocab_size": len(tokens),
        "max_position_embeddings": 24,
        "bos_token_id": len(tokens) - 2,
        "eos_token_id": len(tokens) - 1,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=shape | {"image_size": 32, "patch_size": 8}, projection_dim=8))
    model.save_pretrained(path)
    tokenizer = CLIPTokenizer(vocab=str(path / "vocab.json"), merges=str(path / "merges.txt"), model_max_length=24)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(path)
    return str(path)


def test_features_and_scores(folder):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 20, 20, 3)).astype(np.uint8)
    prompts = ["a cup", "a shoe on a red background and much more text than the model reads", "b", "c", "d"]
    one, many = Clip(folder, batch_size=1), Clip(folder, batch_size=4)
    features = many.features(pictures)
    assert features.shape == (5, 8)
    assert np.allclose(np.linalg.norm(features, axis=1), 1)
    assert np.allclose(one.features(pictures), features, atol=1e-5)
    scores = many.text_score(prompts, pictures)
    assert scores.shape == (5,)
    assert np.abs(scores).max() <= 1
    assert np.allclose(one.text_score(prompts, pictures), scores, atol=1e-5)
