"""The text side of the small diffusion pipeline: captions to train on, the tokenizer, the text encoder and its first lesson."""

import json

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from base.recipes.split import sample_training_scene
from boig.simulator.captions import random_caption, random_description
from boig.simulator.catalog import BACKGROUND_COLORS, BACKGROUNDS, KINDS, PRODUCT_COLORS
from boig.simulator.render import Scene
from boig.simulator.scenes import sample_scene

TOKENS = 32
WIDTH = 128
EMPTY_SHARE, POST_SHARE = 0.1, 0.4
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def sample_text(rng: np.random.Generator, scene: Scene) -> str:
    """A post caption, a description, or nothing."""
    roll = rng.random()
    if roll < EMPTY_SHARE:
        return ""
    if roll < EMPTY_SHARE + POST_SHARE:
        return random_caption(rng, tuple(p.kind for p in scene.products))
    return random_description(rng, scene)


def build_tokenizer(rng: np.random.Generator) -> CLIPTokenizer:
    """A CLIP tokenizer over the words of the captions; letters spell what it does not know."""
    texts = [sample_text(rng, sample_scene(rng)) for _ in range(20_000)]
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[a-z]+|[0-9]|[^\sa-z0-9]+"), "removed", invert=True)
    letters = [chr(c) for c in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=list(SPECIAL),
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = [tuple(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]]
    # The trainer numbers single letters anew in each process; here they are in order, each also as the end of a word.
    known = [*SPECIAL, *letters, *(f"{letter}</w>" for letter in letters), *("".join(m) for m in merges)]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(known))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TOKENS)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=TOKENS, projection_dim=WIDTH, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def teach_text(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, rng: np.random.Generator, steps: int, device: str) -> None:
    """Train the text encoder alone to name what a caption is about, with heads that are thrown away.

    What Stable Diffusion gets from CLIP: words for different things are far apart before the first picture is drawn.
    """
    names = [*KINDS, *(f"product {c}" for c in PRODUCT_COLORS), *(f"ground {c}" for c in BACKGROUND_COLORS), *BACKGROUNDS]
    place = {name: i for i, name in enumerate(names)}
    head = torch.nn.Linear(WIDTH, len(names)).to(device)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-3, weight_decay=0.01)
    bar = tqdm(range(steps), desc="text", mininterval=5)
    for step in bar:
        scenes = [sample_training_scene(rng) for _ in range(64)]
        target = torch.zeros(len(scenes), len(names))
        for row, scene in zip(target, scenes, strict=True):
            said = [
                *(p.kind for p in scene.products),
                *(f"product {p.color}" for p in scene.products),
                f"ground {scene.color}",
                scene.background,
            ]
            row[[place[name] for name in said]] = 1
        tokens = tokenizer(
            [random_description(rng, s) for s in scenes], padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        logits = head(encoder(tokens.to(device)).last_hidden_state.mean(1))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.to(device))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 50, (steps - step) / (0.3 * steps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.4f}")
