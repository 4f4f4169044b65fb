"""Fine-tuning of BoigLLM beside TRL's `SFTTrainer` with its defaults: non-padding tokens a second, at equal validation loss.

    python -m bench.sft            # ten minutes on two cores; writes bench/results/sft.json

Both start from the same weights of the default's size and see the same texts in the same batches with the same optimizer, schedule
and plain cross-entropy on the answers, in float32. Time is that of the whole call, from texts to a trained model. TRL's default
recomputes activations, which a model of this size does not need: the peer without it is timed too. Each runs in a process of its
own, in turn, so that all see the same load.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from boig.language.examples import Example, Text, training_texts, validation_texts
from boig.params import load
from boig.sections.train_boigllm import TrainBoigllm
from boig.sections.verbalize import Verbalize

OUT = Path("bench/results/sft.json")
POSTS, VAL, RUNS, SEED = 3000, 300, 3, 41
METHODS = ("ours", "trl", "trl_without_checkpointing")


def examples() -> list[Example]:
    """Simulated posts with what the default's detector sees in their pictures; the KPI is made up, since speed does not read it."""
    from boig.simulator.accounts import draw_accounts
    from boig.simulator.posts import brief_of, draw_posts
    from boig.simulator.render import render
    from boig.verbalizer.verbalizer import build

    rng = np.random.default_rng(SEED)
    accounts = draw_accounts(rng, 4)
    industry = {a.name: a.industry for a in accounts}
    posts = draw_posts(SEED, accounts, POSTS + VAL, datetime(2024, 1, 1, tzinfo=UTC), 24, 0.1)
    section = load("verbalize")
    assert isinstance(section, Verbalize)
    verbalizer = build(section)
    shown = [v for i in range(0, len(posts), 256) for v in verbalizer.verbalize(np.stack([render(p.scene) for p in posts[i : i + 256]]))]
    kpis = rng.integers(0, 101, len(posts)).tolist()
    buckets = ["low" if k < 60 else "medium" if k < 90 else "high" for k in kpis]
    return [Example(brief_of(p, industry[p.account]), b, k, v) for p, b, k, v in zip(posts, buckets, kpis, shown, strict=True)]


def measure(method: str) -> dict:
    """Train once; seconds, non-padding tokens, loss on validation texts and peak memory of this process."""
    from boig.language import examples as texts_of
    from boig.language import model, sft, tokenizer

    section = load("train_boigllm")
    assert isinstance(section, TrainBoigllm)
    rule = section.training.model_copy(update={"passes": 1, "number_smoothing": 0.0, "evaluations": 1})
    posts = examples()
    order = np.random.default_rng(SEED).permutation(len(posts))
    train, val = [posts[i] for i in order[:POSTS]], [posts[i] for i in order[POSTS:]]
    words = tokenizer.train(texts_of.vocabulary_texts(train), section.scratch.vocab_size)
    size = section.scratch
    fresh = model.create(
        words, hidden_size=size.hidden_size, layers=size.layers, heads=size.heads, feed_forward=size.feed_forward, seed=section.seed
    )
    texts = training_texts(train, [], rule, section.seed)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        trained = _ours(fresh, words, texts, rule, folder) if method == "ours" else _trl(fresh, words, texts, rule, folder, method == "trl")
        seconds = time.perf_counter() - begun
    steps = len(texts) // rule.batch_size
    seen = sum(map(len, sft.dataset(texts, words, rule.max_tokens)["input_ids"])) * steps * rule.batch_size / len(texts)
    return {
        "tokens_per_s": seen / seconds,
        "seconds": round(seconds, 2),
        "val_loss": _val_loss(trained, words, validation_texts(val)),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "texts": len(texts),
        "steps": steps,
    }


def _ours(model, words, texts: list[Text], rule, folder: str):
    from boig.language import sft
    from boig.reporting import Silent

    return sft.fit(model, words, texts, [], rule, lora=None, folder=Path(folder), seed=SEED, workers=1, report=Silent()).model


def _trl(model, words, texts: list[Text], rule, folder: str, checkpointing: bool):
    """As TRL's documentation has it; set is only what ours has, too, and `use_cpu` with float32."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from boig.language.prompts import for_model

    steps = len(texts) // rule.batch_size
    rows = Dataset.from_list([{"prompt": for_model(t.prompt, words), "completion": t.answer} for t in texts])
    args = SFTConfig(
        output_dir=folder, max_steps=steps, per_device_train_batch_size=rule.batch_size,
        learning_rate=rule.learning_rate, lr_scheduler_type="cosine", warmup_steps=round(rule.warmup_share * steps),
        weight_decay=rule.weight_decay, adam_beta2=0.98, max_grad_norm=rule.max_grad_norm, use_cpu=True, bf16=False,
        dataloader_pin_memory=False,
        report_to="none", disable_tqdm=True, seed=SEED, data_seed=SEED, **({} if checkpointing else {"activation_checkpointing": False}),
    )  # fmt: skip
    SFTTrainer(model, args=args, train_dataset=rows, processing_class=words).train()
    return model.eval()


def _val_loss(model, words, texts: list[Text]) -> float:
    """Nats per answer token, one text at a time: the same for all methods."""
    import torch

    from boig.language import sft

    total, count = 0.0, 0
    with torch.inference_mode():
        for row in sft.dataset(texts, words, 512):
            labels = torch.tensor(row["labels"])[1:]
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
            total += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=sft.IGNORED, reduction="sum"))
            count += int((labels != sft.IGNORED).sum())
    return total / count


def main() -> None:
    if len(sys.argv) == 2:
        print(json.dumps(measure(sys.argv[1])))
        return
    runs: dict[str, list[dict]] = {name: [] for name in METHODS}
    for _ in range(RUNS):
        for name in METHODS:
            answer = subprocess.run([sys.executable, "-m", "bench.sft", name], check=True, capture_output=True, text=True)
            runs[name].append(json.loads(answer.stdout.splitlines()[-1]))
    first = runs["ours"][0]
    rate = {name: statistics.median(r["tokens_per_s"] for r in found) for name, found in runs.items()}
    result = {
        "ours": round(rate["ours"]),
        "peer": round(rate["trl"]),
        "peer_name": "TRL SFTTrainer with its defaults (activation checkpointing), float32",
        "ratio": round(rate["ours"] / rate["trl"], 2),
        "unit": "non-padding tokens/s, two cores",
        "without_checkpointing": {
            "peer": round(rate["trl_without_checkpointing"]),
            "ratio": round(rate["ours"] / rate["trl_without_checkpointing"], 2),
        },
        "val_loss": {name: round(found[0]["val_loss"], 4) for name, found in runs.items()},
        "peak_rss_mb": {name: max(r["peak_rss_mb"] for r in found) for name, found in runs.items()},
        "seconds": {name: [r["seconds"] for r in found] for name, found in runs.items()},
        "runs": RUNS,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "held_equal": f"weights, {first['texts']} texts, {first['steps']} batches, optimizer, schedule, loss, float32",
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(
        f"{OUT}: {result['ours']} tokens/s, {result['ratio']} × TRL, {result['without_checkpointing']['ratio']} × TRL without checkpointing"
    )


if __name__ == "__main__":
    main()
