"""Text embeddings of prompts, each computed once."""

from collections.abc import Sequence

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline


def kpi_prompt(prompt: str, bucket: str) -> str:
    """The prompt of a KPI-guided model. The KPI comes first, so that no limit of tokens can cut it off."""
    return f"kpi {bucket}, {prompt}"


class TextCache:
    """Embeddings by text. Each text is encoded alone, so that its embedding does not depend on what else is asked for."""

    def __init__(self, pipe: StableDiffusionPipeline):
        self._pipe = pipe
        self._known: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, L, D) on the pipeline's device, in its dtype."""
        for text in texts:
            if text not in self._known:
                self._known[text] = self._pipe.encode_prompt(text, self._pipe.device, 1, False)[0][0]
        return torch.stack([self._known[text] for text in texts])
