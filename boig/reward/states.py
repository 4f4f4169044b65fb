"""Hidden states of a language model that stands still, each prompt's computed once for all that are trained on top of it."""

import torch
from torch import nn

from boig.reward import encoder
from boig.reward.continuing import Prompts


class States:
    """`encoder.pooled` with a memory. A text's states do not depend on its batch, so they are the same bytes with and without it."""

    def __init__(self, backbone: nn.Module, pad: int):
        self._backbone, self._pad = backbone, pad
        self._seen: dict[tuple[int, ...], torch.Tensor] = {}

    def __call__(self, asked: Prompts) -> torch.Tensor:
        """(N, 2 D) float32 of N prompts.

        Raises:
            ValueError: a prompt is longer than the model's context.
        """
        keys = [tuple(i) for i in asked.ids]
        fresh = {key: n for n, key in enumerate(keys) if key not in self._seen}
        rows = list(fresh.values())
        computed = encoder.pooled(self._backbone, Prompts([asked.ids[n] for n in rows], [asked.starts[n] for n in rows]), self._pad)
        self._seen.update(zip(fresh, computed, strict=True))
        return torch.stack([self._seen[key] for key in keys]) if keys else computed
