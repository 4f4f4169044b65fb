"""Both rewards behind one interface: how well would this picture do in this brief? A total, its parts, and how sure it is.

Parts, all in KPI points (0–100) but the last:
- `engagement`: expected KPI by engagement simulation;
- `design`: design specification, mapped to KPI points by a straight line fitted on `val`;
- `mismatch`: share of the caption's products that the detector did not find, 0–1.

An account that training has not seen is left blank, in the text and in the numbers: it is scored as an average account of its
industry, and so is an industry that nobody has seen: by its text alone.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from boig.brief import Brief
from boig.language.model import load as load_language
from boig.language.prompts import behavior_prompts
from boig.reward import design
from boig.reward.calibration import Calibration, groups
from boig.reward.encoder import known, merged
from boig.reward.engagement import Engagement
from boig.reward.features import mismatch
from boig.reward.line import Line
from boig.verbalizer.form import Verbalization

PARTS = ("engagement", "design", "mismatch")
_FILE = "reward.json"
_CACHED = 100_000  # scores of 40 bytes


@dataclass(frozen=True)
class Scores:
    """Of N pictures in their briefs."""

    total: np.ndarray
    """(N,) float64: weighted sum of the parts."""
    parts: dict[str, np.ndarray]
    """(N,) each; a part that costs time and has no weight is left out."""
    uncertainty: np.ndarray
    """(N,) float64: sigma of `engagement`, KPI points."""


class Reward:
    """Scores with a cache by content. Close to a plain function: equal inputs, equal scores, in any batch and order."""

    def __init__(self, model: PreTrainedModel, engagement: Engagement, line: Line, calibration: Calibration, weights: Mapping[str, float]):
        """Put the pieces together; `load` does so from files.

        Raises:
            ValueError: a weight of an unknown part.
        """
        unknown = sorted(set(weights) - set(PARTS))
        if unknown:
            raise ValueError(f"reward weights name {unknown}, the parts are {list(PARTS)}")
        self._model, self._engagement, self._line, self._weights = model, engagement, line, dict(weights)
        self.calibration = calibration
        self._with_design = bool(self._weights.get("design"))
        self._cache: OrderedDict[bytes, tuple[float, float, float]] = OrderedDict()

    @classmethod
    def load(cls, path: str | Path, weights: Mapping[str, float] | None = None, device: str = "cpu", root: Path = Path(".")) -> "Reward":
        """Read a reward that the train_reward stage has written.

        Args:
            path: `models/reward`.
            weights: of the parts in the total; None takes those of training. A design weight of 0 saves two thirds of the time.
            device: where the language model runs.
            root: the workspace that the reward is of; where its BoigLLM lies.

        Raises:
            FileNotFoundError: no reward there, or its BoigLLM is gone.
            ValueError: a weight of an unknown part.
        """
        folder = Path(path)
        if not (folder / _FILE).is_file():
            raise FileNotFoundError(f"no reward in {folder}; run the train_reward stage (`dvc repro train_reward`)")
        raw = json.loads((folder / _FILE).read_text())
        model, tokenizer = load_language(root / raw["boigllm"], dtype=raw["dtype"], device=device)
        model = merged(model)
        engagement = Engagement.load(folder, model.base_model, tokenizer)
        return cls(
            model, engagement, Line(**raw["line"]), Calibration(**raw["calibration"]), raw["weights"] if weights is None else weights
        )

    def save(self, path: Path, boigllm: str, dtype: str) -> None:
        """Write everything but BoigLLM, of which path and precision are kept."""
        self._engagement.save(path)
        content = {
            "boigllm": boigllm,
            "dtype": dtype,
            "weights": self._weights,
            "line": asdict(self._line),
            "calibration": asdict(self.calibration),
        }
        (path / _FILE).write_text(json.dumps(content, indent=1) + "\n")

    def score(self, briefs: Sequence[Brief], verbalizations: Sequence[Verbalization]) -> Scores:
        """Score N pictures, each in its brief.

        Raises:
            ValueError: the lengths differ, a prompt is longer than the language model reads, or a score is not finite.
        """
        if len(briefs) != len(verbalizations):
            raise ValueError(f"{len(briefs)} briefs for {len(verbalizations)} verbalizations; give one of each per picture")
        keys = [hashlib.sha256(prompt.encode()).digest() for prompt in behavior_prompts(briefs, verbalizations)]
        fresh = list({key: i for i, key in enumerate(keys) if key not in self._cache}.values())
        if fresh:
            self._remember([keys[i] for i in fresh], [briefs[i] for i in fresh], [verbalizations[i] for i in fresh])
        values = np.array([self._cache[key] for key in keys], dtype=np.float64).reshape(len(keys), 3)
        self._forget()
        parts = {"engagement": values[:, 0]} | ({"design": values[:, 2]} if self._with_design else {})
        parts["mismatch"] = mismatch(briefs, verbalizations, self._engagement.numbers.picture.products)
        total = sum((self._weights.get(name, 0.0) * part for name, part in parts.items()), start=np.zeros(len(keys)))
        return Scores(total, parts, values[:, 1])

    def interval(self, scores: Scores, briefs: Sequence[Brief]) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of the conformal 90 % interval of the KPI, (N,) each, within 0–100.

        Args:
            scores: of `score`.
            briefs: the same N briefs; an account that training has not seen has wider intervals.
        """
        half = self.calibration.half_widths(groups(briefs, self._engagement.numbers.context.accounts)) * scores.uncertainty
        return np.clip(scores.parts["engagement"] - half, 0, 100), np.clip(scores.parts["engagement"] + half, 0, 100)

    def _remember(self, keys: list[bytes], briefs: list[Brief], verbalizations: list[Verbalization]) -> None:
        mean, sigma = self._engagement.predict(briefs, verbalizations)
        points = np.zeros(len(keys))
        if self._with_design:
            with self._engagement.without_adapter():
                asked = known(briefs, self._engagement.numbers.context)
                nats = design.scores(self._model, self._engagement.tokenizer, asked, verbalizations)
            points = self._line.points(nats)
        if not (np.isfinite(mean) & np.isfinite(sigma) & np.isfinite(points)).all():
            raise ValueError(f"the reward of some of {len(keys)} pictures is not finite; its weights are broken, run train_reward again")
        for key, row in zip(keys, np.stack([mean, sigma, points], axis=1).tolist(), strict=True):
            self._cache[key] = tuple(row)

    def _forget(self) -> None:
        while len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
