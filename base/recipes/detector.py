"""Train the grid detector or the reference classifier on rendered scenes, and write weights and card.

    python -m base.recipes.detector detector      # base/detector:  about 4 minutes on a free CPU core
    python -m base.recipes.detector reference     # base/reference: about 5 minutes on a free CPU core

Both see rendered pictures only, never likes. The reference classifier is deeper, has heads for the background's color
family and for text, and other seeds: it judges what the rest of the pipeline made.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from base.recipes.cards import write_card
from base.recipes.grid_data import FAMILIES, LABELS, Batch, Pool
from base.recipes.grid_scores import scores
from boig.verbalizer.grid_detector import GridConfig, GridNet, GridOutput, save

_BATCH, _POOL, _RENEWED = 64, 16_000, 12
_UNSEEN = 1_000_000  # added to the seed for the pictures that scores are measured on
_TITLES = {"detector": "Detector of the default verbalizer", "reference": "Reference classifier of the simulated feed"}
_DATA = (
    "scenes of boig.simulator rendered at 64 px, half of them moved off the grid, with blur, codec, JPEG, noise and color shifts; no likes"
)


@dataclass(frozen=True)
class Plan:
    """One network to train."""

    config: GridConfig
    seed: int
    """Of weights, scenes and augmentation."""
    steps: int
    """Batches of 64 pictures."""
    rate: float
    """Peak learning rate of AdamW; warmed up over 5 % of the steps, then cosine to zero."""


PLANS: dict[str, Plan] = {
    "detector": Plan(GridConfig(LABELS, width=16, blocks=2), seed=11, steps=1600, rate=3e-3),
    "reference": Plan(GridConfig(LABELS, width=16, blocks=3, families=FAMILIES), seed=77, steps=1600, rate=3e-3),
}


def overlap_loss(found: Tensor, true: Tensor) -> Tensor:
    """1 − generalized IoU of boxes given as (N, 4) distances from one common point; (N,)."""
    left, top, right, bottom = torch.minimum(found, true).unbind(1)
    inner = (left + right) * (top + bottom)
    left, top, right, bottom = torch.maximum(found, true).unbind(1)
    hull = (left + right) * (top + bottom)
    union = (found[:, 0] + found[:, 2]) * (found[:, 1] + found[:, 3]) + (true[:, 0] + true[:, 2]) * (true[:, 1] + true[:, 3]) - inner
    return 1 - inner / union + (hull - union) / hull


def loss_of(out: GridOutput, batch: Batch) -> Tensor:
    """Focal loss on the cells (exponent 2, as CornerNet), box loss at positive cells, cross-entropies of the picture heads."""
    chance = torch.sigmoid(out.classes)
    right = batch.classes * (1 - chance) ** 2 * functional.logsigmoid(out.classes)
    wrong = (1 - batch.classes) * chance**2 * functional.logsigmoid(-out.classes)
    positive = batch.classes.amax(1) > 0  # (B, 8, 8)
    count = positive.sum().clamp(min=1)
    total = -((right + wrong) * batch.weight).sum() / count
    found, true = out.sides.permute(0, 2, 3, 1)[positive], batch.sides.permute(0, 2, 3, 1)[positive]  # (N, 4)
    total = total + (overlap_loss(found, true) + 0.2 * functional.l1_loss(found, true, reduction="none").mean(1)).sum() / count
    if out.families is not None and out.text is not None:
        total = total + functional.cross_entropy(out.families, batch.family)
        total = total + functional.binary_cross_entropy_with_logits(out.text, batch.text)
    return total


def train(plan: Plan, device: str, progress: Callable[[int, float], None]) -> GridNet:
    """The trained network on the CPU; equal plans give equal weights on one device."""
    torch.manual_seed(plan.seed)
    net = GridNet(plan.config).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=plan.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=plan.steps, pct_start=0.05, cycle_momentum=False)
    pool = Pool(np.random.default_rng(plan.seed), _POOL)
    for step, batch in enumerate(pool.batches(plan.steps, _BATCH, _RENEWED, device)):
        loss = loss_of(net(batch.pictures.contiguous(memory_format=torch.channels_last)), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        progress(step, loss.item())
    return net.cpu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(PLANS))
    parser.add_argument("--steps", type=int, help="batches of 64 pictures; fewer train faster and worse")
    parser.add_argument("--seed", type=int, help="of weights, scenes and augmentation")
    parser.add_argument("--device", default="cpu", help="a torch device")
    parser.add_argument("--out", type=Path, help="default base/<name>")
    parser.add_argument("--measure-only", action="store_true", help="keep the weights, write the card's scores anew")
    given = parser.parse_args()
    plan = PLANS[given.name]
    plan = Plan(plan.config, given.seed or plan.seed, given.steps or plan.steps, plan.rate)
    folder = given.out or Path("base") / given.name
    if given.measure_only:
        seconds = json.loads((folder / "card.json").read_text())["train_seconds"]
    else:
        start = time.perf_counter()
        with tqdm(total=plan.steps, desc=given.name, mininterval=5) as bar:

            def progress(step: int, loss: float) -> None:
                bar.update()
                if step % 100 == 0:
                    bar.set_postfix(loss=f"{loss:.3f}")

            save(train(plan, given.device, progress), folder)
        seconds = round(time.perf_counter() - start)
    write_card(
        folder,
        _TITLES[given.name],
        f"python -m base.recipes.detector {given.name}",
        plan,
        _DATA,
        seconds,
        scores(folder, plan.seed + _UNSEEN),
    )


if __name__ == "__main__":
    main()
