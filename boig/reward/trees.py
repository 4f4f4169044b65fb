"""Boosted trees beside the heads: the same numbers, read by steps instead of slopes.

Trees and small networks err in different places when posts are few (Grinsztajn et al. 2022 on tables of this size), so a
weighted mean of both orders posts better than either. The trees are LightGBM's (Ke et al. 2017), saved as text.
"""

from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np

from boig.reward.settings import TreesRule

_FILE = "trees.txt"


@dataclass(frozen=True)
class Trees:
    """A trained forest and its weight in the mean with the heads."""

    booster: lightgbm.Booster
    weight: float

    @classmethod
    def train(cls, numbers: np.ndarray, target: np.ndarray, rule: TreesRule, seed: int) -> "Trees | None":
        """Boost on numbers (N, P + C) and targets (N,); None where the trees' weight is 0. Equal inputs give equal trees."""
        if not rule.weight:
            return None
        settings = {
            "objective": "regression",
            "learning_rate": rule.learning_rate,
            "num_leaves": rule.leaves,
            "min_data_in_leaf": rule.min_posts,
            "lambda_l2": rule.l2,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,  # else a timing chooses the layout, and with it the order of sums
            "num_threads": 1,
            "verbosity": -1,
        }
        return cls(lightgbm.train(settings, lightgbm.Dataset(numbers, target), num_boost_round=rule.rounds), rule.weight)

    def mix(self, heads: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """The weighted mean of the heads' scores (N,) and the trees', from the numbers (N, P + C); in the units of training."""
        return (1 - self.weight) * heads + self.weight * np.asarray(self.booster.predict(numbers, num_threads=1))

    def save(self, folder: Path) -> None:
        """Write the trees as text."""
        (folder / _FILE).write_text(self.booster.model_to_string())

    @classmethod
    def load(cls, folder: Path, weight: float) -> "Trees | None":
        """Read what `save` wrote; None where the weight is 0.

        Raises:
            FileNotFoundError: no trees in the folder.
        """
        if not weight:
            return None
        if not (folder / _FILE).is_file():
            raise FileNotFoundError(f"{folder / _FILE} is missing; run the train_reward stage (`dvc repro train_reward`)")
        return cls(lightgbm.Booster(model_file=str(folder / _FILE)), weight)
