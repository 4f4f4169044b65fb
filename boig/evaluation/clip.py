"""A CLIP-like model of transformers: features for the distances, and a text–picture score. Any hub id or folder."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModel, AutoProcessor

from boig.verbalizer.pretrained import load_pretrained


class Clip:
    """CLIP (or SigLIP) behind the interfaces of `features.Features` and `text_score`."""

    def __init__(self, model: str, revision: str | None = None, *, device: str = "cpu", batch_size: int = 64) -> None:
        """Load safetensors weights and the processor.

        Args:
            model: hub id or folder.
            revision: commit of the hub repository; None for a folder.
            device: `cpu`, `cuda`, …
            batch_size: pictures or texts per forward pass.

        Raises:
            FileNotFoundError: no such folder or hub model.
            ValueError: the files hold another kind of model.
        """
        self.note = f"image embeddings of {model}"
        self.device, self.batch_size = device, batch_size
        self._model = load_pretrained(AutoModel, model, revision or "", use_safetensors=True).to(device).eval()
        self._processor = load_pretrained(AutoProcessor, model, revision or "")
        # SigLIP was trained on texts of one length, and takes its embedding from the last place.
        self._padding = "max_length" if "siglip" in self._model.config.model_type else True

    @torch.inference_mode()
    def features(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, 3) → unit vectors (N, D) float64."""
        parts = []
        for start in range(0, len(pictures), self.batch_size):
            inputs = self._processor(images=list(pictures[start : start + self.batch_size]), return_tensors="pt").to(self.device)
            parts.append(_unit(self._model.get_image_features(**inputs)))
        return np.concatenate(parts)

    @torch.inference_mode()
    def text_score(self, prompts: list[str], pictures: np.ndarray) -> np.ndarray:
        """Cosine of each prompt with its picture, −1 … 1: (N,) float64."""
        parts = []
        for start in range(0, len(prompts), self.batch_size):
            batch = prompts[start : start + self.batch_size]
            inputs = self._processor(text=batch, padding=self._padding, truncation=True, return_tensors="pt").to(self.device)
            parts.append(_unit(self._model.get_text_features(**inputs)))
        return (np.concatenate(parts) * self.features(pictures)).sum(1)


def _unit(output: Any) -> np.ndarray:
    """Embeddings as unit rows; transformers 5 wraps them in an output object, older ones return the tensor."""
    vectors = output if isinstance(output, torch.Tensor) else output.pooler_output
    return functional.normalize(vectors.float(), dim=-1).cpu().numpy().astype(np.float64)
