"""Pictures to verbalizations: palette and tones from pixels, objects from a detector, one sentence from a captioner.

Backends are imported when settings ask for them: transformers alone takes ten seconds.
"""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from boig.verbalizer.captioner import Captioner, TemplateCaptioner
from boig.verbalizer.detector import Detector
from boig.verbalizer.form import MAX_COLORS, MAX_OBJECTS, Box, ColorShare, ObjectBox, Verbalization
from boig.verbalizer.palette import NAMES, check_pictures, shares
from boig.verbalizer.settings import CaptionerSettings, DetectorSettings


class Verbalizer:
    """One detector, one captioner and the thresholds between them."""

    def __init__(self, detector: Detector, captioner: Captioner, min_coverage: float) -> None:
        """min_coverage: share of the picture, 0–1, that a color must cover to be named."""
        self.detector, self.captioner, self.min_coverage = detector, captioner, min_coverage

    def verbalize(self, pictures: np.ndarray) -> list[Verbalization]:
        """A verbalization per picture of a uint8 (B, H, W, 3) sRGB batch; depends on the picture alone.

        Raises:
            ValueError: another dtype or shape, or the captioner has no usable sentence for one of the pictures.
        """
        if not len(check_pictures(pictures)):
            return []
        by_name, by_tone = shares(pictures)
        colors = top_colors(by_name, self.min_coverage)
        objects = [largest(found) for found in self.detector.detect(pictures)]
        captions = self.captioner.caption(pictures, objects, colors)
        return [Verbalization(c, t, o, plain(s)) for c, t, o, s in zip(colors, round_tones(by_tone), objects, captions, strict=True)]


def top_colors(coverage: np.ndarray, min_coverage: float) -> list[tuple[ColorShare, ...]]:
    """The largest named colors of each picture, at most `MAX_COLORS`, two decimals; equal coverages in the order of the palette.

    Args:
        coverage: (B, 40) shares, rows sum to 1.
        min_coverage: colors below this share are left out.
    """
    percent = np.floor(coverage * 100 + 0.5).astype(int)
    order = np.argsort(-percent, axis=1, kind="stable")[:, :MAX_COLORS]
    least = max(1.0, min_coverage * 100)
    return [
        tuple(ColorShare(NAMES[i], share / 100) for i, share in zip(places, listed, strict=True) if share >= least)
        for places, listed in zip(order.tolist(), np.take_along_axis(percent, order, axis=1).tolist(), strict=True)
    ]


def round_tones(tones: np.ndarray) -> list[tuple[float, float, float]]:
    """(B, 3) shares as hundredths that sum to exactly one hundred: largest remainders are rounded up, earlier ones first."""
    scaled = np.asarray(tones, np.float64) * 100
    percent = np.floor(scaled + 1e-9).astype(int)
    order = np.argsort(-np.round(scaled - percent, 9), axis=1, kind="stable")
    place = np.argsort(order, axis=1)  # of each tone among the remainders
    percent += place < 100 - percent.sum(1, keepdims=True)
    return [(warm / 100, neutral / 100, cool / 100) for warm, neutral, cool in percent.tolist()]


def largest(found: tuple[ObjectBox, ...]) -> tuple[ObjectBox, ...]:
    """The largest objects, at most `MAX_OBJECTS`, boxes in two decimals; what rounds to no area is dropped."""
    rounded = [replace(o, box=_hundredths(o.box), score=round(o.score, 3)) for o in found]
    kept = [o for o in rounded if o.box[2] > o.box[0] and o.box[3] > o.box[1]]
    return tuple(sorted(kept, key=lambda o: (-round(o.area, 6), o.label, o.box))[:MAX_OBJECTS])


def _hundredths(box: Box) -> Box:
    """The box inside the picture, two decimals."""
    x0, y0, x1, y1 = (round(min(max(v, 0.0), 1.0), 2) for v in box)
    return x0, y0, x1, y1


def plain(caption: str) -> str:
    """The sentence on one line, without quotes and backslashes (see `Verbalization.caption`)."""
    return " ".join(caption.translate({ord('"'): "'", ord("\\"): "/"}).split())


class Settings(Protocol):
    """What of the `verbalize` section a verbalizer needs."""

    detector: DetectorSettings
    captioner: CaptionerSettings
    min_coverage: float
    batch_size: int


def build(settings: Settings, device: str = "cpu") -> Verbalizer:
    """The verbalizer that the settings describe.

    Raises:
        FileNotFoundError: a model is missing.
        ValueError: a setting does not fit its kind.
    """
    return Verbalizer(
        build_detector(settings.detector, settings.batch_size, device), build_captioner(settings.captioner, device), settings.min_coverage
    )


def build_detector(settings: DetectorSettings, batch_size: int, device: str) -> Detector:
    """See `build`."""
    if settings.kind == "grid":
        from boig.verbalizer.grid_detector import GridDetector

        return GridDetector.load(Path(settings.model), settings.threshold, batch_size, device)
    if settings.kind == "activation":
        from boig.verbalizer.activation_detector import ActivationDetector

        return ActivationDetector.load(Path(settings.model) if settings.model else None, settings.threshold, device)
    from boig.verbalizer.transformers_detector import TransformersDetector, ZeroShotDetector

    if settings.kind == "transformers":
        return TransformersDetector.load(settings.model, settings.revision, settings.threshold, device)
    return ZeroShotDetector.load(settings.model, settings.revision, settings.threshold, settings.labels, device)


def build_captioner(settings: CaptionerSettings, device: str) -> Captioner:
    """See `build`."""
    if settings.kind == "template":
        return TemplateCaptioner()
    from boig.verbalizer.transformers_captioner import TransformersCaptioner

    return TransformersCaptioner.load(settings.model, settings.revision, settings.prompt, settings.max_tokens, settings.tries, device)
