"""The scoring service beside a loop that scores one picture at a time with the same models.

    python -m bench.score        # two minutes; writes bench/results/score.json

64 pictures, 8 briefs of 8, and no cache: every run has other pictures and other briefs. The loop is what one would write with transformers:
verbalize a picture, tokenize its prompt, run it as a batch of one without padding, average, ask heads and trees. Models have the sizes of
`params.yaml` and fresh weights, on which speed does not depend; the detector is the shipped one. Each side runs in a process of its own,
once with one thread, as an actor of the pool has by default, and once with as many as torch takes by itself. The pool of two actors is
beside the faster of the two loops: with two cores, that is what the service and the loop make of them.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

OUT = Path("bench/results/score.json")
BRIEFS, GROUP, SIDE, RUNS, WARM, LATENCIES, POSTS, ACTORS = 8, 8, 64, 7, 2, 40, 400, 2
CENTER, SCALE = 50.0, 29.0  # KPI points, as of a percentile
CLOSE = 1e-4  # KPI points between the two sides


def posts(seed: int, count: int, each: int) -> tuple[list, np.ndarray]:
    """Briefs, each repeated, and as many rendered pictures."""
    from boig.brief import Brief
    from boig.simulator import captions, catalog
    from boig.simulator.render import render
    from boig.simulator.scenes import sample_scene

    rng, briefs, pictures = np.random.default_rng(seed), [], []
    industries = list(catalog.INDUSTRIES)
    for i in range(count):
        account = int(rng.integers(24))
        industry = industries[account % len(industries)]
        kinds = (str(rng.choice(catalog.INDUSTRIES[industry])),)
        when = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=int(rng.integers(8760)))
        briefs += [Brief(f"{seed}-{i}", f"account{account}", industry, when, captions.random_caption(rng, kinds))] * each
        pictures += [render(sample_scene(rng, kinds), SIDE) for _ in range(each)]
    return briefs, np.stack(pictures)


def models():
    """Verbalizer, language model and engagement reward, as params.yaml has them but untrained."""
    import torch

    from boig.language import model as language
    from boig.language import tokenizer as tokenizers
    from boig.params import load
    from boig.reward.encoder import Numbers
    from boig.reward.engagement import Engagement
    from boig.reward.model import HeadConfig, RewardHead
    from boig.reward.trees import Trees
    from boig.sections.align_boigsd import AlignBoigsd
    from boig.sections.train_boigllm import TrainBoigllm
    from boig.sections.train_reward import TrainReward
    from boig.verbalizer.verbalizer import build

    section, language_section, eyes = load("train_reward"), load("train_boigllm"), load("align_boigsd")
    assert isinstance(section, TrainReward)
    assert isinstance(language_section, TrainBoigllm)
    assert isinstance(eyes, AlignBoigsd)
    verbalizer, sizes = build(eyes.verbalizer), language_section.scratch.model_dump()
    briefs, pictures = posts(0, POSTS, 1)
    texts = verbalizer.verbalize(pictures)
    tokenizer = tokenizers.train(
        [*(b.caption for b in briefs), *(b.account for b in briefs), *(t.caption for t in texts)], sizes.pop("vocab_size")
    )
    model = language.create(tokenizer, **sizes, seed=1).eval()
    numbers = Numbers.fit(briefs, texts, section.features)
    torch.manual_seed(2)
    shape = {"text_size": 2 * model.config.hidden_size, "picture_size": numbers.picture.size, "context_size": numbers.context.size}
    head = RewardHead(HeadConfig(**shape, **section.head.model_dump())).double().eval()  # as `Engagement.load` does
    trees = Trees.train(np.hstack(numbers.encode(briefs, texts)), np.random.default_rng(3).normal(size=len(briefs)), section.trees, 4)
    return verbalizer, model, Engagement(model.base_model, tokenizer, head, numbers, CENTER, SCALE, trees=trees)


def ours(verbalizer, model, engagement) -> tuple[Callable, Callable]:
    """(briefs, pictures) → scores by the service, and (briefs, texts) → scores by the reward."""
    from boig.reward.calibration import Calibration
    from boig.reward.scorer import Line, Reward
    from boig.reward.service import Service

    reward = Reward(model, engagement, Line(0.0, 0.0, 1.0), Calibration({}, 1.0), {"engagement": 1.0})
    service = Service(verbalizer, reward)
    return lambda b, p: service(b, p).total, lambda b, t: reward.score(b, t).total


def peer(verbalizer, model, engagement) -> tuple[Callable, Callable]:
    """As `ours`, one picture at a time."""
    import torch

    from boig.language.prompts import behavior_prompt, for_model
    from boig.reward.encoder import known
    from boig.reward.model import combine

    numbers, tokenizer, head = engagement.numbers, engagement.tokenizer, engagement.head

    @torch.no_grad()
    def one(brief, text) -> float:
        (brief,) = known([brief], numbers.context)
        ids = tokenizer(for_model(behavior_prompt(brief, text), tokenizer), return_tensors="pt")["input_ids"]
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
        pooled = torch.cat([states.mean(0), states[-1]])[None]
        columns = numbers.encode([brief], [text])
        picture, context = (torch.from_numpy(side).double() for side in columns)
        mean, _ = combine(head(text=pooled.double(), picture=picture, context=context).logits)
        return CENTER + SCALE * float(engagement.trees.mix(mean.numpy(), np.hstack(columns))[0])

    def by_text(briefs, texts) -> np.ndarray:
        return np.array([one(b, t) for b, t in zip(briefs, texts, strict=True)])

    def whole(briefs, pictures) -> np.ndarray:
        return np.array([one(b, verbalizer.verbalize(p[None])[0]) for b, p in zip(briefs, pictures, strict=True)])

    return whole, by_text


def timed(work: Callable, inputs: list) -> tuple[list[float], list[float], list]:
    """Seconds of the wall clock, seconds of the processor, and answers; the first `WARM` are not counted."""
    wall, busy, answers = [], [], []
    for given in inputs:
        begun, begun_busy = time.perf_counter(), time.process_time()
        answers.append(work(*given))
        wall.append(time.perf_counter() - begun)
        busy.append(time.process_time() - begun_busy)
    return wall[WARM:], busy[WARM:], answers[WARM:]


def latency(work: Callable, pictures: int, seed: int) -> dict:
    """Of new pictures of one brief, ms."""
    wall, _, _ = timed(work, [posts(seed + i, 1, pictures) for i in range(WARM + LATENCIES)])
    return {"p50_ms": round(float(np.percentile(wall, 50)) * 1e3, 2), "p95_ms": round(float(np.percentile(wall, 95)) * 1e3, 2)}


class Scorer:
    """The service as an actor of a pool."""

    def __init__(self):
        self._work = ours(*models())[0]

    def __call__(self, briefs: list, pictures: np.ndarray) -> np.ndarray:
        return self._work(briefs, pictures)


def pooled() -> dict:
    """Speed of a pool of `ACTORS`, each with its share of the briefs."""
    from flows.on_ray import ActorPool

    inputs = [posts(1000 + run, BRIEFS, GROUP) for run in range(WARM + RUNS)]
    with ActorPool(Scorer, {}, size=ACTORS, cpus=1) as pool:

        def whole(briefs: list, pictures: np.ndarray) -> np.ndarray:
            share = len(briefs) // ACTORS
            futures = [pool.submit(briefs[at : at + share], pictures[at : at + share]) for at in range(0, len(briefs), share)]
            return np.concatenate([future.result() for future in futures])

        wall, _, answers = timed(whole, inputs)
    return {"per_s": BRIEFS * GROUP / statistics.median(wall), "scores": np.concatenate(answers).tolist()}


def measure(side: str, threads: int | None) -> dict:
    """All numbers of one side; without `threads`, with torch's default."""
    import torch

    if side == "pool":
        return pooled()
    if threads:
        torch.set_num_threads(threads)
    verbalizer, model, engagement = models()
    whole, by_text = {"ours": ours, "peer": peer}[side](verbalizer, model, engagement)
    inputs = [posts(1000 + run, BRIEFS, GROUP) for run in range(WARM + RUNS)]
    wall, busy, answers = timed(whole, inputs)
    others = [posts(2000 + run, BRIEFS, GROUP) for run in range(WARM + RUNS)]
    given, given_busy, _ = timed(by_text, [(briefs, verbalizer.verbalize(pictures)) for briefs, pictures in others])
    count = BRIEFS * GROUP
    return {
        "threads": torch.get_num_threads(),
        "per_s": count / statistics.median(wall),
        "per_cpu_s": count / statistics.median(busy),
        "texts_per_s": count / statistics.median(given),
        "texts_per_cpu_s": count / statistics.median(given_busy),
        "group": latency(whole, GROUP, 3000),
        "single": latency(whole, 1, 4000),
        "scores": np.concatenate(answers).tolist(),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def run(side: str, threads: int | None) -> dict:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "bench.score", "--side", side, *(["--threads", str(threads)] if threads else [])]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def apart(found: dict[str, dict]) -> float:
    """The largest difference between the scores of several sides, in KPI points; takes the scores out.

    Raises:
        SystemExit: they do not agree.
    """
    scores = np.array([side.pop("scores") for side in found.values()])
    largest = float(np.ptp(scores, axis=0).max())
    if largest > CLOSE:
        raise SystemExit(f"the sides differ by {largest:g} KPI points, at most {CLOSE:g} is rounding; one of them is wrong")
    return largest


def speeds(found: dict) -> dict:
    """Both sides' speed, and how many times the peer's ours is."""

    def both(key: str) -> dict:
        return {side: round(found[side][key], 1) for side in ("ours", "peer")}

    def ratio(key: str) -> float:
        return round(found["ours"][key] / found["peer"][key], 2)

    texts = {"unit": "pictures/s, verbalizations given", **both("texts_per_s"), "ratio": ratio("texts_per_s")}
    return {
        **both("per_s"),
        "ratio": ratio("per_s"),
        "ratio_cpu": ratio("per_cpu_s"),
        "pictures_per_cpu_s": both("per_cpu_s"),
        "texts": {**texts, "ratio_cpu": ratio("texts_per_cpu_s")},
    }


def main() -> None:
    """Run both sides, with one thread and with torch's default, check that they agree, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=("ours", "peer", "pool"), help="measure one side in this process and print it")
    parser.add_argument("--threads", type=int, help="of torch, with --side; without it torch's default")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.threads)))
        return
    found, by_default = ({side: run(side, threads) for side in ("peer", "ours")} for threads in (1, None))
    pool = {"pool": run("pool", None)}
    differ = apart({f"{side} {n}": sides[side] for n, sides in enumerate((found, by_default, pool)) for side in sides})
    loop = max(found["peer"]["per_s"], by_default["peer"]["per_s"])
    result = {
        **speeds(found),
        "peer_name": "one picture at a time: verbalizer, transformers with a batch of one without padding, heads, trees",
        "unit": "pictures/s, verbalized and scored",
        "pool": {
            "actors": ACTORS,
            "ours": round(pool["pool"]["per_s"], 1),
            "peer": round(loop, 1),
            "ratio": round(pool["pool"]["per_s"] / loop, 2),
        },
        "default_threads": {"threads": by_default["ours"]["threads"], **speeds(by_default)},
        "latency": {side: {"group_of_8": found[side]["group"], "single": found[side]["single"]} for side in found},
        "peak_rss_mb": {side: found[side]["peak_rss_mb"] for side in found},
        "largest_difference": differ,
        "load_average": round(os.getloadavg()[0], 1),
        "runs": RUNS,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one torch thread but where said, Python {platform.python_version()}",
        "held_equal": f"pictures, briefs, models, threads; {BRIEFS} briefs x {GROUP} pictures, new ones in each run, median of {RUNS}",
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    group, threads = found["ours"]["group"], result["default_threads"]
    print(f"{OUT}: {result['ours']}/s, {result['ratio']} x one at a time; a group of 8: p50 {group['p50_ms']} ms, p95 {group['p95_ms']} ms")
    print(f"a pool of {ACTORS} on as many cores: {result['pool']['ours']}/s, {result['pool']['ratio']} x the faster loop")
    print(f"with {threads['threads']} threads, torch's default: {threads['ours']}/s, {threads['ratio']} x one at a time")


if __name__ == "__main__":
    main()
