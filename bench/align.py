"""Our aligner against DDPO as published, on one base, reward, panel and machine.

    python -m bench.align        # after `dvc repro train_reward`; twenty minutes on two cores; writes bench/results/align.json

The peer is the faithful re-implementation in `boig/diffusion/algorithms/ddpo.py` with the parameters of `align_boigsd.ddpo`: all steps
drawn and trained, guidance in both, each rollout scored after it has been drawn. Ours has the parameters of `align_boigsd.boigsd`, and its
reward runs in a process of its own, beside the next chunk. Both are looked at on the same panel, drawn alike; looking is not counted.
`ratio_to_reward` is the peer's training time over ours up to the peer's final panel reward. Each runs in a process of its own, so that its
memory is its own too.
"""

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from boig.brief import Brief
from boig.params import load
from boig.sections.align_boigsd import AlignBoigsd

RESULT = Path("bench/results/align.json")
OURS, PEER = "boigsd", "ddpo"
_worker: Callable | None = None


def _start_worker(section: AlignBoigsd) -> None:
    global _worker  # one per process of the pool: what an initializer can hand to later calls
    from tasks.align_boigsd import RewardWorker

    _worker = RewardWorker(section.verbalizer, section.reward)


def _score(briefs: list[Brief], pictures: np.ndarray):
    assert _worker is not None
    return _worker(briefs, pictures)


def run_method(section: AlignBoigsd, method: str, overlapped: bool, folder: Path) -> dict:
    """Train one method from nothing; the seconds of training and the panel's reward at each look, and the peak memory.

    Args:
        section: parameters; both methods are sampled for the panel like ours.
        method: `boigsd` or `ddpo`.
        overlapped: score in a process of its own, else in this one.
        folder: for checkpoints, emptied before.
    """
    from boig.diffusion.learner import Learner
    from boig.diffusion.pipeline import add_adapter, load_base
    from boig.diffusion.rollout import Score, at_once
    from boig.diffusion.text import TextCache
    from boig.diffusion.training import run
    from boig.diffusion.world import World
    from boig.reporting import Silent
    from boig.reward.judge import Judge
    from tasks.align_boigsd import RewardWorker
    from tasks.align_boigsd.judging import PanelView
    from tasks.align_boigsd.methods import MAKERS, Bench, settings_of
    from tasks.align_boigsd.reading import panel

    settings, world, base = settings_of(section, method), World(), section.base
    pool = ProcessPoolExecutor(1, get_context("spawn"), _start_worker, (section,)) if overlapped else None
    score: Score = (lambda b, p: pool.submit(_score, b, p)) if pool else at_once(RewardWorker(section.verbalizer, section.reward))
    pipe = load_base(base.model, base.revision, base.device, base.dtype)
    add_adapter(pipe, settings.lora, section.seed)
    learner, texts = Learner(pipe, settings.optimizer, world), TextCache(pipe)
    algorithm = MAKERS[method](Bench(pipe, learner, texts, score, section.seed), settings)
    view = PanelView(
        pipe, texts, panel(section.panel.prompts, section.seed), section.panel, section.boigsd.sampling, section.seed, score,
        Judge.load(section.reward.judge), world, method, folder / "contact", Silent(),
    )  # fmt: skip
    looks: list[dict] = []
    clock = {"looking": 0.0, "begun": time.perf_counter()}

    def look(iteration: int) -> dict[str, float]:
        entered = time.perf_counter()
        seen = view(iteration)
        looks.append({"seconds": round(entered - clock["begun"] - clock["looking"], 2), "iteration": iteration} | seen)
        clock["looking"] += time.perf_counter() - entered
        return seen

    run(
        algorithm, settings.iterations, look=look, looks=section.panel.looks, guard=None, checkpoint=folder / "c.safetensors",
        report=Silent(),
    )  # fmt: skip
    if pool:
        pool.shutdown()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if overlapped else 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + children
    return {"looks": looks, "peak_rss_gb": round(peak / 2**20, 2), "counts": vars(learner.progress.counts)}


def seconds_to(looks: list[dict], reward: float) -> float | None:
    """Training seconds until the panel's reward first reaches a value, linear between looks; None where it never does."""
    for before, after in pairwise(looks):
        if after["reward"] >= reward:
            rise = after["reward"] - before["reward"]
            share = (reward - before["reward"]) / rise if rise > 0 else 1.0
            return before["seconds"] + max(0.0, share) * (after["seconds"] - before["seconds"])
    return None


def main() -> None:
    """Run both, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=Path, default=Path("scratch/bench_align"), help="folder for checkpoints, emptied")
    arguments = parser.parse_args()
    section = load("align_boigsd")
    assert isinstance(section, AlignBoigsd)
    found = {}
    for method, overlapped in ((PEER, False), (OURS, True)):
        folder = arguments.scratch / method
        for file in folder.glob("*.safetensors"):
            file.unlink()
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            found[method] = alone.submit(run_method, section, method, overlapped, folder).result()
    goal = found[PEER]["looks"][-1]["reward"]
    if goal <= found[PEER]["looks"][0]["reward"]:
        raise SystemExit(f"bench: the peer ends at a reward of {goal}, not above the base's; there is no time to compare")
    ours, peer = (seconds_to(found[name]["looks"], goal) for name in (OURS, PEER))
    ratio = round(peer / ours, 2) if ours and peer else None
    result = {
        "ours": ours,
        "peer": peer,
        "peer_name": "DDPO as published (re-implemented here, float32 trajectory)",
        "ratio": ratio,
        "ratio_to_reward": ratio,
        "unit": "s of training to the peer's final panel reward",
        "reward": {"base": found[PEER]["looks"][0]["reward"], "peer_final": goal, "ours_final": found[OURS]["looks"][-1]["reward"]},
        "peak_rss_gb": {name: run["peak_rss_gb"] for name, run in found.items()},
        "methods": found,
        "runs": 1,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, device {section.base.device}, Python {platform.python_version()}",
        "held_equal": "base, reward, judge, panel and its sampling, seed, machine, torch threads",
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{RESULT}: peer {peer:.0f} s, ours {ours or float('nan'):.0f} s to a panel reward of {goal:.2f}")


if __name__ == "__main__":
    main()
