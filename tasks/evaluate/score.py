"""Look at pictures: reward, judge, true law, agreement with the brief, features. A Ray worker that loads all of it once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from boig.brief import Brief
from boig.evaluation.agreement import Asked, asked, mismatch, word_score
from boig.evaluation.clip import Clip
from boig.evaluation.features import build as build_features
from boig.evaluation.safety import build as build_safety
from boig.evaluation.settings import FeatureBackend, SafetyBackend, TextBackend, Verbalizing
from boig.language.prompts import picture_prompt
from boig.reward.judge import Judge
from boig.reward.service import Service
from boig.simulator.catalog import FAMILY, KINDS
from boig.simulator.facts import measure
from boig.simulator.law import Law
from boig.simulator.reference import Reference, SceneFacts
from boig.simulator.truth import REFERENCE_PX, expected_log_likes, mean_likes
from tasks.evaluate.paint import from_png


@dataclass(frozen=True)
class Eyes:
    """Where everything lies that looks at pictures; built inside the worker."""

    verbalizer: Verbalizing
    reward: str
    judge: str
    reference: str
    """Folder of the reference classifier; empty on a feed that is not simulated."""
    law: str
    """File of the law; empty on a feed that is not simulated."""
    features: FeatureBackend
    text: TextBackend
    safety: SafetyBackend
    device: str


class SimulatedTruth:
    """Reference classifier and law."""

    def __init__(self, reference: Reference, law: Law) -> None:
        self._reference, self._law = reference, law

    def facts(self, pictures: np.ndarray) -> list[SceneFacts]:
        """What each picture shows."""
        return self._reference.facts(squares(pictures, REFERENCE_PX))

    def likes(self, briefs: list[Brief], pictures: np.ndarray, facts: list[SceneFacts]) -> np.ndarray:
        """Expected likes under the law, (N,) float64."""
        products = [tuple((kind, box) for kind, box, _ in f.products) for f in facts]
        seen = measure(squares(pictures, REFERENCE_PX), products, [f.has_text for f in facts])
        return mean_likes(expected_log_likes(self._law, briefs, seen))


def resize(picture: np.ndarray, side: int) -> np.ndarray:
    """uint8 (H, W, 3) → (side, side, 3): the middle square, box filter; as it is where it has that size."""
    if picture.shape[:2] == (side, side):
        return picture
    return np.asarray(ImageOps.fit(Image.fromarray(picture), (side, side), Image.Resampling.BOX))


def squares(pictures: np.ndarray, side: int) -> np.ndarray:
    """uint8 (N, H, W, 3) → (N, side, side, 3)."""
    return pictures if pictures.shape[1:3] == (side, side) else np.stack([resize(p, side) for p in pictures])


def agrees(wanted: Asked, seen: SceneFacts) -> bool | None:
    """Whether the reference classifier finds all that the prompt names: products, and the background's color family.

    None where the prompt names neither.
    """
    if not wanted.products and not wanted.ground:
        return None
    shown = {kind for kind, *_ in seen.products}
    return set(wanted.products) <= shown and (not wanted.ground or FAMILY[wanted.ground] == seen.background_family)


class Scorer:
    """Rows {key, brief, png} gain reward, judge, likes, agreement, mismatch, unsafe, text_score and features, and lose the picture.

    Rows without a brief, which only stand for real pictures at large, gain features alone.
    """

    def __init__(self, eyes: Eyes, side: int) -> None:
        """Load all models.

        Args:
            eyes: where they lie.
            side: px; every picture is brought to this size first, real ones too.
        """
        self._service, self._judge = Service.load(eyes.verbalizer, eyes.reward, device=eyes.device), Judge.load(Path(eyes.judge))
        self._truth = SimulatedTruth(Reference.load(Path(eyes.reference), eyes.device), Law.load(Path(eyes.law))) if eyes.law else None
        self._space = build_features(eyes.features, device=eyes.device)
        self._clip = Clip(eyes.text.model, eyes.text.revision or None, device=eyes.device) if eyes.text.kind == "clip" else None
        self._safety = build_safety(eyes.safety)
        self._side, self._labels = side, self._service.labels

    def __call__(self, rows: list[dict]) -> list[dict]:
        pictures = np.stack([resize(from_png(r["png"]), self._side) for r in rows])
        features = self._space.features(pictures).astype(np.float32)
        asked_for = [i for i, r in enumerate(rows) if r["brief"] is not None]
        found = self._look([rows[i]["brief"] for i in asked_for], pictures[asked_for]) if asked_for else []
        scored = dict(zip(asked_for, found, strict=True))
        return [{k: v for k, v in row.items() if k != "png"} | {"features": features[i]} | scored.get(i, {}) for i, row in enumerate(rows)]

    def _look(self, briefs: list[Brief], pictures: np.ndarray) -> list[dict]:
        shown = self._service.verbalize(pictures)
        prompts = [picture_prompt(b.caption, b.account) for b in briefs]
        wanted = [asked(p, self._labels) for p in prompts]
        clip = self._clip.text_score(prompts, pictures).tolist() if self._clip else None
        columns = {
            "reward": self._service(briefs, pictures).total.tolist(),
            "judge": self._judge.score(briefs, pictures).tolist(),
            "mismatch": [mismatch(w, s) for w, s in zip(wanted, shown, strict=True)],
            "unsafe": self._safety.unsafe(pictures) if self._safety else [None] * len(briefs),
            "text_score": clip or [word_score(w, s) for w, s in zip(wanted, shown, strict=True)],
            **self._true(briefs, prompts, pictures),
        }
        return [{name: values[i] for name, values in columns.items()} for i in range(len(briefs))]

    def _true(self, briefs: list[Brief], prompts: list[str], pictures: np.ndarray) -> dict[str, list]:
        if self._truth is None:
            return {"likes": [None] * len(briefs), "agreement": [None] * len(briefs)}
        facts = self._truth.facts(pictures)
        return {
            "likes": self._truth.likes(briefs, pictures, facts).tolist(),
            "agreement": [agrees(asked(p, KINDS), f) for p, f in zip(prompts, facts, strict=True)],
        }


class TrueEye:
    """Rows {brief, png} gain `likes`, expected under the law, and lose the picture: the panels of alignment, in hindsight."""

    def __init__(self, reference: str, law: str, device: str) -> None:
        """Load reference classifier and law."""
        self._truth = SimulatedTruth(Reference.load(Path(reference), device), Law.load(Path(law)))

    def __call__(self, rows: list[dict]) -> list[dict]:
        pictures = np.stack([resize(from_png(r["png"]), REFERENCE_PX) for r in rows])
        likes = self._truth.likes([r["brief"] for r in rows], pictures, self._truth.facts(pictures))
        return [{k: v for k, v in row.items() if k != "png"} | {"likes": value} for row, value in zip(rows, likes.tolist(), strict=True)]
