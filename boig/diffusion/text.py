"""Text embeddings of prompts, each computed once, and the KPI as a code on top of them."""

import hashlib
from collections.abc import Sequence

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

_STRENGTH = 0.3
"""Of a KPI's code, as a share of the text embedding's own root mean square: to be read easily, and not to drown the text."""


def kpi_code(bucket: str, width: int) -> torch.Tensor:
    """(width,) float32 standard normal, a function of the bucket's name alone: the direction that stands for it.

    Words in the prompt would be the obvious way, but a frozen text encoder need not have learnt any: one that was trained on
    captions of pictures gives `high` and `low` nearly equal embeddings, and then nothing downstream can tell them apart.
    """
    seed = int.from_bytes(hashlib.sha256(bucket.encode()).digest()[:8]) >> 1
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


class TextCache:
    """Embeddings by text. Each text is encoded alone, so that its embedding does not depend on what else is asked for."""

    def __init__(self, pipe: StableDiffusionPipeline):
        self._pipe = pipe
        self._known: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def embed(self, texts: Sequence[str], buckets: Sequence[str | None] = ()) -> torch.Tensor:
        """Embeddings on the pipeline's device, in its dtype.

        Args:
            texts: B prompts.
            buckets: the KPI bucket that each is to have, or None, for an adapter that was trained with them; empty for none at all.

        Returns:
            (B, L, D)
        """
        for text in texts:
            if text not in self._known:
                self._known[text] = self._pipe.encode_prompt(text, self._pipe.device, 1, False)[0][0]
        rows = [self._known[text] for text in texts]
        if buckets:
            rows = [row if bucket is None else _told(row, bucket) for row, bucket in zip(rows, buckets, strict=True)]
        return torch.stack(rows)


def _told(text: torch.Tensor, bucket: str) -> torch.Tensor:
    """(L, D) → (L, D): the code at every token, so that attention reads it wherever it looks."""
    return text + _STRENGTH * text.float().square().mean().sqrt().to(text) * kpi_code(bucket, text.shape[-1]).to(text)
