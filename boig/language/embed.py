"""Sentence embeddings by a small encoder: for the nearest-neighbor baseline and the cosine metrics."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

PACKAGE = "package:"
_MAX_TOKENS = 128  # as the encoder was trained (its model card)
_BATCH = 64


class Embedder:
    """Mean-pooled, unit-length embeddings of texts; each text is computed once."""

    def __init__(self, path_or_hub_id: str, revision: str | None = None, device: str = "cpu"):
        """Load the encoder.

        Args:
            path_or_hub_id: folder, hub id, or `package:<module>` for the encoder that an installed package ships.
            revision: commit of a hub id.
            device: where torch puts it.

        Raises:
            FileNotFoundError: no such folder, package or hub id.
        """
        source = str(package_folder(path_or_hub_id)) if path_or_hub_id.startswith(PACKAGE) else path_or_hub_id
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
            model = AutoModel.from_pretrained(source, revision=revision, use_safetensors=True, trust_remote_code=False)
        except OSError as error:
            found = f"no sentence encoder at {path_or_hub_id!r} ({str(error).splitlines()[0]})"
            raise FileNotFoundError(f"{found}; give a folder, a hub id or package:<module>") from error
        self._model = model.to(device).eval()
        self._known: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(N, d) float32, unit length."""
        new = sorted(set(texts) - self._known.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            self._known.update(zip(batch, self._forward(batch), strict=True))
        return np.stack([self._known[text] for text in texts])

    def similarity(self, a: Sequence[str], b: Sequence[str]) -> np.ndarray:
        """Cosines of names, (n, m); underscores are read as blanks."""
        first, second = (self.encode([name.replace("_", " ").lower() for name in names]) for names in (a, b))
        return first @ second.T

    @torch.inference_mode()
    def _forward(self, texts: list[str]) -> np.ndarray:
        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt").to(self._model.device)
        hidden = self._model(**batch).last_hidden_state  # (B, T, d)
        mask = batch["attention_mask"][..., None].to(hidden)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=1).float().cpu().numpy()


def package_folder(name: str) -> Path:
    """The one folder with a transformers model (config.json and safetensors) inside an installed package.

    Args:
        name: `package:<module>`. The module is found, never imported.

    Raises:
        FileNotFoundError: not installed, or no or several such folders.
    """
    module = name.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(module)
    root = Path(spec.origin).parent if spec is not None and spec.origin else None
    folders = sorted(f.parent for f in root.rglob("config.json") if list(f.parent.glob("*.safetensors"))) if root else []
    if len(folders) != 1:
        raise FileNotFoundError(f"{name!r}: found {len(folders)} model folders, need one; pip install {module}, or give a folder or hub id")
    return folders[0]
