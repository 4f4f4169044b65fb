"""Draw the planned pictures: a Ray worker that holds the base model and puts on one adapter after the other."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from boig.brief import BUCKETS
from boig.diffusion.pipeline import load_adapter, load_base, remove_adapter
from boig.diffusion.sampler import generate
from boig.diffusion.settings import Sampling
from boig.diffusion.text import TextCache


def to_png(picture: np.ndarray) -> bytes:
    """uint8 (H, W, 3) losslessly; equal pictures give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def from_png(data: bytes) -> np.ndarray:
    """PNG or JPEG bytes → uint8 (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


class Painter:
    """Rows {key, adapter, bucket, prompt, seed} gain `png` and `unet_forwards` (U-Net evaluations, guidance counts twice)."""

    def __init__(
        self, base: str, revision: str, adapters: str, steps: int, guidance: float, device: str, dtype: str, batch_size: int
    ) -> None:
        """Load the base model once.

        Args:
            base, revision, device, dtype: as for `load_base`.
            adapters: folder with one folder per adapter.
            steps, guidance: how the base is sampled; an adapter brings its own.
            batch_size: pictures per forward pass.
        """
        self._pipe = load_base(base, revision, device, dtype)
        self._adapters, self._batch_size = Path(adapters), batch_size
        self._plain = Sampling(steps=steps, guidance=guidance, kpi=None)
        self._sampling, self._worn = self._plain, ""
        self._texts = TextCache(self._pipe)

    def _wear(self, adapter: str) -> None:
        if adapter == self._worn:
            return
        if adapter:
            self._sampling = load_adapter(self._pipe, self._adapters / adapter)
        else:
            remove_adapter(self._pipe)
            self._sampling = self._plain
        self._worn = adapter

    def __call__(self, rows: list[dict]) -> list[dict]:
        drawn: dict[str, dict] = {}
        for adapter, bucket in dict.fromkeys((r["adapter"], r["bucket"]) for r in rows):
            part = [r for r in rows if (r["adapter"], r["bucket"]) == (adapter, bucket)]
            self._wear(adapter)
            how = self._sampling
            pictures = generate(
                self._pipe, [r["prompt"] for r in part], [r["seed"] for r in part], how.steps, how.guidance,
                kpi=steer(how.kpi, bucket), batch_size=self._batch_size, cache=self._texts,
            )  # fmt: skip
            spent = how.steps * (1 if how.guidance == 1 else 2)
            drawn |= {r["key"]: r | {"png": to_png(p), "unet_forwards": spent} for r, p in zip(part, pictures, strict=True)}
        return [drawn[r["key"]] for r in rows]


def steer(kpi: tuple[str, str] | None, bucket: str) -> tuple[str, str] | None:
    """(wanted, contrast) for another wanted bucket than the adapter's own; the contrast is the far end of the scale."""
    if kpi is None or not bucket or bucket == kpi[0]:
        return kpi
    return bucket, BUCKETS[0] if bucket == BUCKETS[-1] else BUCKETS[-1]
