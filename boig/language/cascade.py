"""Decoding rows that begin alike: a beginning's keys and values are computed and kept once, however many rows go on from it.

The draws of a brief have its prompt in common, and all prompts have their instruction and worked examples in common. Attention
over keys that lie in several places is one softmax over the scores of all of them (Hydragen, Juravsky et al. 2024), so nothing
is copied to the rows that share it: queries of these rows are laid side by side before the keys instead. What a row alone has
written lies in a buffer that grows by doubling; transformers' own cache is copied whole at each token.

Legend: R rows, H heads of queries, K of keys, T new tokens, D size of a head; a segment has B of R rows, each for R / B of them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

_NAME = "boig_cascade"
_ROOM = 64  # tokens for which a buffer has room at first


@dataclass(frozen=True)
class Segment:
    """Keys and values of B beginnings of at most W tokens, filled up on the right."""

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    """Keys and values of each layer, (B, K, W, D)."""
    lengths: torch.Tensor
    """(B,) tokens of each."""

    def keep(self, rows: torch.Tensor) -> "Segment":
        """Only these of the B beginnings."""
        return Segment([(keys[rows], values[rows]) for keys, values in self.layers], self.lengths[rows])


class Buffer(DynamicLayer):
    """Keys and values of one layer, with room at their end."""

    keys: torch.Tensor
    values: torch.Tensor
    _keys: torch.Tensor
    _values: torch.Tensor

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
        """Append; as in the parent class, but a view of a larger tensor."""
        held = self.get_seq_length()
        size = held + key_states.shape[2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._keys, self._values = (_roomy(new, max(_ROOM, size)) for new in (key_states, value_states))
        elif size > self._keys.shape[2]:
            grown = [_roomy(old, 2 * size) for old in (self._keys, self._values)]
            for new, old in zip(grown, (self.keys, self.values), strict=True):
                new[:, :, :held] = old
            self._keys, self._values = grown
        self._keys[:, :, held:size], self._values[:, :, held:size] = key_states, value_states
        self.keys, self.values = self._keys[:, :, :size], self._values[:, :, :size]
        return self.keys, self.values

    def keep(self, rows: torch.Tensor) -> None:
        """Only these rows."""
        size = self.get_seq_length()
        self._keys, self._values = self._keys[rows], self._values[rows]
        self.keys, self.values = self._keys[:, :, :size], self._values[:, :, :size]


def _roomy(like: torch.Tensor, tokens: int) -> torch.Tensor:
    return like.new_empty(*like.shape[:2], tokens, like.shape[3])


class Cascade:
    """R rows that a model writes on, R / B of them after each of B prompts, and all after one prefix."""

    def __init__(self, model: PreTrainedModel, prefix: Segment | None, prompts: Sequence[Sequence[int]], each: int, pad: int):
        """Run the prompts.

        Args:
            model: one that `cascades`, while `attending` lasts.
            prefix: what stands before all prompts, see `beginning`.
            prompts: B lists of token ids, each after the prefix.
            each: rows per prompt.
            pad: a token to fill up with.
        """
        self._model, self._prefix = model, [prefix] if prefix else []
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
        tokens = torch.tensor([[*p, *[pad] * (int(lengths.max()) - len(p))] for p in prompts], device=model.device)
        logits, cache = _run(model, None, self._prefix, tokens, lengths)
        self._prompts = Segment([(layer.keys, layer.values) for layer in cache.layers], lengths)
        self._own: Cache | None = None
        self.logits = logits.repeat_interleave(each, dim=0)
        """(R, V) of the token that comes next."""

    def step(self, tokens: torch.Tensor) -> None:
        """Write (R,) tokens, and set `logits`."""
        ones = torch.ones_like(tokens)
        self.logits, self._own = _run(self._model, self._own, [*self._prefix, self._prompts], tokens[:, None], ones)

    def keep(self, prompts: torch.Tensor, rows: torch.Tensor) -> None:
        """Go on with some rows, equally many of each of some prompts; indices of both, in order."""
        prompts, rows = prompts.to(self.logits.device), rows.to(self.logits.device)
        self._prompts, self.logits = self._prompts.keep(prompts), self.logits[rows]
        for layer in self._own.layers if self._own else ():
            layer.keep(rows)


def beginning(model: PreTrainedModel, tokens: Sequence[int]) -> Segment:
    """What all prompts begin with, run once; as for `Cascade`."""
    lengths = torch.tensor([len(tokens)], device=model.device)
    _, cache = _run(model, None, [], torch.tensor([tokens], device=model.device), lengths)
    return Segment([(layer.keys, layer.values) for layer in cache.layers], lengths)


def _run(
    model: PreTrainedModel, own: Cache | None, segments: Sequence[Segment], tokens: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, Cache]:
    """(R, T) tokens, filled up on the right, of which (R,) are real → (R, V) logits after the last real ones, and what the rows hold."""
    rows, new = tokens.shape
    own = own or Cache(layers=[Buffer() for _ in range(model.config.get_text_config().num_hidden_layers)])
    before = sum((s.lengths.repeat_interleave(rows // len(s.lengths)) for s in segments), torch.zeros_like(lengths)) + own.get_seq_length()
    # A pad has the place of its row's last token: none is beyond the model's context.
    within = torch.minimum(torch.arange(new, device=tokens.device), lengths[:, None] - 1)
    ends, which = torch.unique(lengths - 1, return_inverse=True)
    logits = model(
        input_ids=tokens,
        position_ids=before[:, None] + within,
        past_key_values=own,
        use_cache=True,
        logits_to_keep=ends,
        segments=segments,
    ).logits  # (R, E, V)
    return logits[torch.arange(rows, device=tokens.device), which], own


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Sequence[Segment],
    scaling: float | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention over segments, then over the row itself, causally; an attention function of transformers.

    Args:
        module: the layer.
        query: (R, H, T, D).
        key, value: (R, K, N, D) of the row itself; N is T, or T is 1.
        attention_mask: not looked at.
        segments: what stands before the rows.
        scaling: of the scores; None for 1 / sqrt(D).
        kwargs: of transformers' own function, not looked at.

    Returns:
        (R, T, H, D).
    """
    rows, heads, new, size = query.shape
    shared = key.shape[1]
    queries = query.reshape(rows, shared, -1, size) * (size**-0.5 if scaling is None else scaling)  # (R, K, H/K T, D)
    own = queries @ key.transpose(2, 3)  # (R, K, H/K T, N)
    if new > 1:
        later = torch.ones(new, new, dtype=torch.bool, device=query.device).triu(1)
        own.view(rows, shared, -1, new, new).masked_fill_(later, -torch.inf)
    places = [s.layers[module.layer_idx] for s in segments]
    scores = [_scores(queries, keys, s.lengths) for s, (keys, _) in zip(segments, places, strict=True)]
    weights = torch.softmax(torch.cat([*scores, own], dim=-1).float(), dim=-1).to(value.dtype)
    *parts, last = weights.split([*(keys.shape[2] for keys, _ in places), own.shape[-1]], dim=-1)
    out = last @ value
    for part, (_, values) in zip(parts, places, strict=True):
        out = out + _apart(_together(part, len(values)) @ values, rows)
    return out.view(rows, heads, new, size).transpose(1, 2).contiguous(), None


def _scores(queries: torch.Tensor, keys: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(R, K, M, D) queries and (B, K, W, D) keys of which (B,) are real → (R, K, M, W)."""
    found = _together(queries, len(keys)) @ keys.transpose(2, 3)
    pads = torch.arange(keys.shape[2], device=keys.device) >= lengths[:, None]  # (B, W)
    if pads.any():
        found.masked_fill_(pads[:, None, None], -torch.inf)
    return _apart(found, len(queries))


def _together(x: torch.Tensor, groups: int) -> torch.Tensor:
    """(R, K, M, ·) → (B, K, R/B M, ·): rows that share a beginning, side by side."""
    rows, heads, count, size = x.shape
    return x.view(groups, rows // groups, heads, count, size).transpose(1, 2).reshape(groups, heads, -1, size)


def _apart(x: torch.Tensor, rows: int) -> torch.Tensor:
    """The inverse of `_together`."""
    groups, heads, count, size = x.shape
    each = rows // groups
    return x.view(groups, heads, each, count // each, size).transpose(1, 2).reshape(rows, heads, -1, size)


def cascades(model: PreTrainedModel) -> bool:
    """Whether the model's attention is plain: no windows, no states of other kinds, no kernel of its own."""
    return model.config._attn_implementation == "sdpa" and all(
        type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers
    )


@contextmanager
def attending(model: PreTrainedModel) -> Iterator[None]:
    """While it lasts, the model attends with `attend`."""
    AttentionInterface.register(_NAME, attend)
    AttentionMaskInterface.register(_NAME, lambda *_, **__: None)
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
