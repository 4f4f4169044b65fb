"""Training of the judge: squared error on the KPI, and the caption's words from the pixels."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup

from boig.brief import Brief
from boig.reporting import Reporter
from boig.reward.features import ContextSpace
from boig.reward.judge import Judge, JudgeNet, JudgeShape, pixels
from boig.reward.settings import JudgeRule

_SHIFT = 2  # px that a training picture may be moved by
_ACCOUNT_DROPOUT = 0.15
_WARMUP = 0.1
_STATE = "judge.pt"


def train(
    briefs: Sequence[Brief], pictures: np.ndarray, kpi: np.ndarray, rule: JudgeRule, *, folder: Path, seed: int, report: Reporter
) -> Judge:
    """Train a judge.

    Args:
        briefs: N posts of split judge.
        pictures: uint8 (N, H, W, 3).
        kpi: (N,) 0–100.
        rule: the section's `judge`.
        folder: for progress; a run that finds some there goes on from it, and ends with the same bytes.
        seed: of weights, order and augmentation.
        report: gets the curves.

    Raises:
        ValueError: no posts, a constant KPI, or a loss that is not finite.
    """
    if not len(kpi) or np.ptp(kpi) == 0:
        raise ValueError(
            f"split judge has {len(kpi)} posts with {len(np.unique(kpi))} KPI values; raise ingest.splits.judge_share or choose another KPI"
        )
    space = ContextSpace.fit(briefs, rule.max_words)
    shape = JudgeShape(rule.side, rule.channels, space.size, len(space.words), rule.dropout)
    center, scale = float(kpi.mean()), float(kpi.std())
    data = (pixels(pictures, rule.side), torch.from_numpy(space.encode(briefs)), torch.tensor((kpi - center) / scale, dtype=torch.float32))
    nets = [_member(i, data, shape, len(space.accounts), rule, folder, seed, report) for i in range(rule.members)]
    return Judge(nets, shape, space, center, scale)


def _member(
    number: int,
    data: tuple[torch.Tensor, ...],
    shape: JudgeShape,
    accounts: int,
    rule: JudgeRule,
    folder: Path,
    seed: int,
    report: Reporter,
) -> JudgeNet:
    """Train one network, or go on with it."""
    path = folder / f"{number}.{_STATE}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed * 1000 + number)
        net = JudgeNet(shape).train()
        per_epoch = -(-len(data[2]) // rule.batch_size)
        optimizer = torch.optim.AdamW(net.parameters(), lr=rule.learning_rate, weight_decay=rule.weight_decay)
        steps = rule.epochs * per_epoch
        schedule = get_cosine_schedule_with_warmup(optimizer, round(_WARMUP * steps), steps)
        start = _resume(path, net, optimizer, schedule)
        every = max(1, rule.epochs // rule.checkpoints)
        for epoch in range(start, rule.epochs):
            loss = _epoch(net, data, optimizer, schedule, accounts, rule, np.random.default_rng([seed, number, epoch]))
            if not np.isfinite(loss):
                raise ValueError(f"train_reward: the judge's loss is {loss} in epoch {epoch}; lower train_reward.judge.learning_rate")
            report.curve(epoch, **{f"judge/{number}/loss": loss})
            if (epoch + 1) % every == 0:
                _save(path, net, optimizer, schedule, epoch + 1)
    return net.eval()


def _epoch(net: JudgeNet, data: tuple, optimizer, schedule, accounts: int, rule: JudgeRule, rng: np.random.Generator) -> float:
    """One pass; the mean loss."""
    seen, context, kpi = data
    losses = []
    for rows in np.array_split(rng.permutation(len(kpi)), -(-len(kpi) // rule.batch_size)):
        at = torch.from_numpy(rows)
        about = context[at].clone()
        about[torch.from_numpy(rng.random(len(rows)) < _ACCOUNT_DROPOUT), :accounts] = 0.0
        mean, words = net(_moved(seen[at], rng), about)
        said = about[:, about.shape[1] - words.shape[1] :]
        loss = nn.functional.mse_loss(mean, kpi[at])
        if words.shape[1]:  # a feed without captions has none, and their mean would be NaN
            loss = loss + rule.word_loss * nn.functional.binary_cross_entropy_with_logits(words, said)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _moved(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The whole batch moved by up to `_SHIFT` px, edges repeated, and mirrored half of the time."""
    side = batch.shape[-1]
    x, y = rng.integers(0, 2 * _SHIFT + 1, size=2)
    padded = nn.functional.pad(batch, (_SHIFT,) * 4, mode="replicate")[..., y : y + side, x : x + side]
    return padded.flip(-1) if rng.random() < 0.5 else padded


def _save(path: Path, net: JudgeNet, optimizer, schedule, epoch: int) -> None:
    """Progress, all at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save(state | {"rng": torch.get_rng_state(), "epoch": epoch}, draft)
    os.replace(draft, path)


def _resume(path: Path, net: JudgeNet, optimizer, schedule) -> int:
    """The epoch to go on from; 0 without progress."""
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["rng"])
    return state["epoch"]
