"""A toy workspace with an untrained, tiny BoigLLM: what the stage needs, made in a second."""

from pathlib import Path

from boig.language import model as language
from boig.language import tokenizer as tokenizers
from boig.sections.train_reward import TrainReward
from tests.boig.reward import toy

BOIGLLM = Path("models/boigllm")


def section(**fit: object) -> TrainReward:
    """The smallest section that still learns; keywords overlay `fit`."""
    rule = {
        "epochs": 12, "batch_size": 16, "learning_rate": 3e-3, "backbone_learning_rate": 1e-3, "lora_rank": 0, "weight_decay": 0.05,
        "warmup_share": 0.1, "max_grad_norm": 1.0, "pairwise": 0.5, "pair_period_days": 90, "account_dropout": 0.15, "ema": 0.95,
        "evaluations": 4, "checkpoints": 4,
    }  # fmt: skip
    return TrainReward.model_validate({
        "seed": 3, "feed": "data/feed", "duplicates": {"phash_bits": 8, "thumbnail_levels": 5.0}, "dtype": "float32",
        "features": {"max_labels": 16, "max_words": 48},
        "head": {"members": 2, "hidden": 8, "rank": 4, "dropout": 0.1, "text_dropout": 0.2},
        "trees": {"weight": 0.3, "rounds": 20, "learning_rate": 0.1, "leaves": 4, "min_posts": 5, "l2": 1.0},
        "fit": rule | fit, "unknown_folds": 2, "controls": {"shuffles": 2, "picture_ridge": True},
        "weights": {"engagement": 1.0, "design": 0.0, "mismatch": 0.0},
        "judge": {
            "members": 1, "channels": 4, "epochs": 4, "batch_size": 16, "learning_rate": 3e-3, "weight_decay": 0.05, "dropout": 0.1,
            "side": 16, "max_words": 24, "word_loss": 0.3, "checkpoints": 4,
        },
        "resources": {"workers": 1, "cpus": 1, "gpus": 0},
    })  # fmt: skip


def language_model(root: Path, feed: toy.ToyFeed) -> Path:
    """A Llama of two layers and 16 dimensions with fresh weights, in `root`."""
    captions = [p["caption"] for p in feed.posts] + [v["caption"] for v in feed.verbalized]
    tokenizer = tokenizers.train([*captions, *(p["account"] for p in feed.posts)], 900)
    model = language.create(tokenizer, hidden_size=16, layers=2, heads=2, feed_forward=32, seed=0)
    model.save_pretrained(root / BOIGLLM)
    tokenizer.save_pretrained(root / BOIGLLM)
    return root / BOIGLLM


def workspace(root: Path, posts: int = 240, seed: int = 0) -> toy.ToyFeed:
    """Tables, ceiling and language model under `root`."""
    feed = toy.make(posts, accounts=6, side=32, seed=seed, noise=0.05)
    feed.write(root)
    toy.write_ceiling(root / "data/feed")
    language_model(root, feed)
    return feed
