"""Hidden states of prompts that begin alike: a beginning is run once, and all prompts that go on from it read its keys and values.

A prompt's beginning is what its brief decides, see `boig.reward.encoder.prompts`: it depends on that prompt alone, as do the shapes
in which beginning and rest are run (see `boig.reward.batches`). So a state does not depend on what else is asked for, and a
cached score equals a fresh one.

Legend: N prompts, G beginnings, R rows of a batch, W tokens of a beginning with its padding, T of a rest, D hidden size.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from peft import PeftModel
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from boig.reward import batches
from boig.reward.model import pool

LENGTH = 32  # beginnings are rounded up to a multiple of this: a rest meets fewer shapes, and padding among keys costs little
ROWS = 32  # rests per batch: shorter than the whole texts for which `batches.ROWS` is chosen
HELD = 64  # beginnings whose keys and values are held at a time: 64 of 200 tokens take half a gigabyte in a model of 135 M


@dataclass(frozen=True)
class Prompts:
    """N tokenized prompts."""

    ids: list[list[int]]
    starts: list[int]
    """How many tokens of each are its beginning, fewer than it has; prompts with equal beginnings share the work on it."""


@dataclass(frozen=True)
class _Begun:
    """G beginnings of one width, run."""

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    """Keys and values of each layer, (G, heads, W, ·)."""
    mask: torch.Tensor
    """(G, W), 1 where there is a token."""
    total: torch.Tensor
    """(G, D) float32: sum of the hidden states."""


def pooled(backbone: nn.Module, prompts: Prompts, pad: int) -> torch.Tensor:
    """As `boig.reward.model.pool` of each prompt: (N, 2 D) float32 on the CPU.

    Args:
        backbone: a decoder of transformers without its output layer. One whose cache is more than keys and values (sliding
            windows, recurrent states), or that takes no positions, reads each prompt as a whole.
        prompts: N prompts.
        pad: token to fill up with.
    """
    out = torch.zeros(len(prompts.ids), 2 * backbone.config.hidden_size)
    with torch.inference_mode():  # `out` comes from outside: heads are trained on it
        _fill(out, backbone, prompts, pad)
    return out


def _fill(out: torch.Tensor, backbone: nn.Module, prompts: Prompts, pad: int) -> None:
    """Write the pooled states of N prompts into (N, 2 D)."""
    device = next(backbone.parameters()).device
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, (ids, start) in enumerate(zip(prompts.ids, prompts.starts, strict=True)):
        groups.setdefault(tuple(ids[:start]), []).append(i)
    if not _continues(backbone):
        groups = {(): list(range(len(prompts.ids)))}
    whole = groups.pop((), [])
    for at, ids, mask in batches.fixed([prompts.ids[i] for i in whole], pad, device):
        out[[whole[i] for i in at]] = pool(backbone, ids, mask)[: len(at)].cpu()
    # Sorted, so that single prompts, each with a beginning of its own, still meet others of their length.
    width = {begin: batches.width(len(begin), LENGTH) for begin in groups}
    order = sorted(groups, key=lambda begin: (width[begin], len(prompts.ids[groups[begin][0]]) - len(begin)))
    for same in (list(begins) for _, begins in groupby(order, key=width.__getitem__)):
        for some in (same[n : n + HELD] for n in range(0, len(same), HELD)):
            for at, states in _pool_rest(backbone, some, [groups[begin] for begin in some], prompts, pad, device):
                out[at] = states.cpu()


def _pool_rest(
    backbone: nn.Module, begins: Sequence[tuple[int, ...]], members: list[list[int]], prompts: Prompts, pad: int, device: torch.device
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Positions in `prompts` and their pooled states (b, 2 D), batch by batch; `members[g]` are the prompts that go on from `begins[g]`."""
    begun = _begin(backbone, begins, pad, device)
    rows = [(g, i) for g, mine in enumerate(members) for i in mine]
    for at, ids, mask in batches.fixed([prompts.ids[i][prompts.starts[i] :] for _, i in rows], pad, device, ROWS):
        filled = at + [at[0]] * (len(ids) - len(at))
        of = torch.tensor([rows[i][0] for i in filled], device=device)  # (R,)
        seen = torch.cat([begun.mask[of], mask], dim=1)  # (R, W + T)
        states = backbone(
            input_ids=ids,
            attention_mask=seen,
            position_ids=_positions(seen)[:, -ids.shape[1] :],
            past_key_values=DynamicCache([(keys[of], values[of]) for keys, values in begun.layers]),
            use_cache=True,
        ).last_hidden_state.float()  # (R, T, D)
        mean = (begun.total[of] + (states * mask[..., None]).sum(1)) / seen.sum(1, keepdim=True)
        last = states[torch.arange(len(states), device=device), mask.sum(1) - 1]
        yield [rows[i][1] for i in at], torch.cat([mean, last], dim=-1)[: len(at)]


def _begin(backbone: nn.Module, begins: Sequence[tuple[int, ...]], pad: int, device: torch.device) -> _Begun:
    """Run beginnings, all of one width."""
    parts = []
    for at, ids, mask in batches.fixed(begins, pad, device, length=LENGTH):  # equal widths: in the order in which they came
        out = backbone(input_ids=ids, attention_mask=mask, position_ids=_positions(mask), past_key_values=DynamicCache(), use_cache=True)
        total = (out.last_hidden_state.float() * mask[..., None]).sum(1)
        layers = [(keys[: len(at)], values[: len(at)]) for keys, values, *_ in out.past_key_values]
        parts.append(_Begun(layers, mask[: len(at)], total[: len(at)]))
    by_layer = zip(*(part.layers for part in parts), strict=True)
    return _Begun(
        layers=[(torch.cat([keys for keys, _ in same]), torch.cat([values for _, values in same])) for same in by_layer],
        mask=torch.cat([part.mask for part in parts]),
        total=torch.cat([part.total for part in parts]),
    )


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """Place of each token among the real ones, (R, ·); padding stands on its neighbor's, so that none is beyond the context."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def _continues(backbone: nn.Module) -> bool:
    """Whether the model can go on from keys and values with padding among them."""
    model = backbone.get_base_model() if isinstance(backbone, PeftModel) else backbone
    layers = DynamicCache(config=model.config).layers
    return "position_ids" in inspect.signature(model.forward).parameters and all(type(layer) is DynamicLayer for layer in layers)
