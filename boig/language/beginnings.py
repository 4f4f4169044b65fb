"""What the texts of a batch begin with, once: chat models are told the same hundred tokens before each of them.

A batch is a row of texts end to end (`boig/language/packing.py`). Texts with a long common beginning are laid out as that beginning,
once, and what is left of each; what is left attends to both. The same loss and gradients as text by text, since the beginning's hidden
states depend on nothing that follows, with fewer tokens: of SmolLM2's 304 tokens a text, a third are the instruction. Prefix sharing is
known from decoding (Hydragen, Juravsky et al. 2024); in training, gradients of all texts meet in the one beginning.
"""

from collections import defaultdict
from dataclasses import dataclass

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

MIN_TOKENS = 64
"""Shorter beginnings cost more in bookkeeping than they save."""


@dataclass(frozen=True)
class Layout:
    """A row of texts, rearranged."""

    take: torch.Tensor
    """(M,) which token of the old row stands where in the new one, M ≤ N."""
    segments: tuple[int, ...]
    """Tokens of each segment; beginnings, each followed by its texts' rests, then the texts that share nothing."""
    shared: tuple[int, ...]
    """Texts of each beginning, two or more."""


def layout(ids: torch.Tensor, labels: torch.Tensor, starts: torch.Tensor, ignored: int) -> Layout | None:
    """How to lay out a row so that long common beginnings stand in it once; None where no two texts have one.

    A beginning ends before the token that predicts a text's first answer token, since each text predicts its own.

    Args:
        ids: (N,) tokens of S texts end to end.
        labels: (N,) `ignored` on prompts.
        starts: (S + 1,) where each text begins, and N.
        ignored: the label of tokens that are not learnt.
    """
    bounds = list(zip(starts.tolist(), starts.tolist()[1:], strict=False))
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    prompts = [_unlearnt(labels[a:b], ignored) - 1 for a, b in bounds]
    for number, (a, _) in enumerate(bounds):
        key = tuple(ids[a : a + MIN_TOKENS].tolist()) if prompts[number] >= MIN_TOKENS else (-1, number)
        alike[key].append(number)
    groups = [texts for texts in alike.values() if len(texts) > 1]
    if not groups:
        return None
    take, segments = [], []
    for texts in groups:
        first, common = bounds[texts[0]][0], _common(ids, [(bounds[t][0], prompts[t]) for t in texts])
        pieces = [(first, first + common), *((bounds[t][0] + common, bounds[t][1]) for t in texts)]
        take += [torch.arange(*piece, device=ids.device) for piece in pieces]
        segments += [b - a for a, b in pieces]
    alone = [texts[0] for texts in alike.values() if len(texts) == 1]
    take += [torch.arange(*bounds[t], device=ids.device) for t in alone]
    segments += [bounds[t][1] - bounds[t][0] for t in alone]
    return Layout(torch.cat(take), tuple(segments), tuple(map(len, groups)))


def attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: tuple[int, ...], **kwargs
) -> torch.Tensor:
    """Attention of one beginning and of the rests of its texts, each of which sees the beginning and itself.

    Args:
        module: the layer.
        query, key, value: (1, heads, M, D), the beginning's P tokens first; key and value may have fewer heads.
        lengths: P, and the tokens of each of the S rests.
        kwargs: of transformers' own function.

    Returns:
        (M, heads, D).
    """
    common, rests = lengths[0], lengths[1:]
    begun, _ = sdpa_attention_forward(module, *(x[:, :, :common] for x in (query, key, value)), None, **{**kwargs, "is_causal": True})
    longest = max(rests)
    places = torch.cat([torch.arange(n, device=query.device) + longest * i for i, n in enumerate(rests)])

    def after_it(x: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :, :common].expand(len(rests), -1, -1, -1), own], 2)  # (S, H, P + T, D)

    seen = torch.ones(longest, common + longest, dtype=torch.bool, device=query.device).tril(common)
    q, k, v = (side_by_side(x[:, :, common:], places, len(rests), longest) for x in (query, key, value))
    sides = (q, after_it(key, k), after_it(value, v))
    out, _ = sdpa_attention_forward(module, *sides, seen[None, None], **{**kwargs, "is_causal": False})  # (S, T, H, D)
    return torch.cat([begun[0], out.flatten(0, 1).index_select(0, places)])


def side_by_side(x: torch.Tensor, places: torch.Tensor, texts: int, longest: int) -> torch.Tensor:
    """(1, H, N, D), S texts end to end → (S, H, T, D), filled up with zeros on the right; `places` (N,) are those of the tokens in S T."""
    rows = x[0].transpose(0, 1).flatten(1)  # (N, H D)
    filled = rows.new_zeros(texts * longest, rows.shape[1]).index_copy(0, places, rows)
    return filled.view(texts, longest, x.shape[1], x.shape[3]).transpose(1, 2)


def _unlearnt(labels: torch.Tensor, ignored: int) -> int:
    """Tokens before the first that is learnt; all of them where none is."""
    learnt = (labels != ignored).nonzero()
    return int(learnt[0]) if len(learnt) else len(labels)


def _common(ids: torch.Tensor, texts: list[tuple[int, int]]) -> int:
    """How many tokens texts have in common from their (start, most) on, at most the least `most`."""
    most = min(length for _, length in texts)
    rows = torch.stack([ids[start : start + most] for start, _ in texts])
    return int((rows == rows[0]).all(0).cumprod(0).sum())
