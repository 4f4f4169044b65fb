"""`params.yaml: train_reward`."""

from typing import Annotated

from pydantic import Field, model_validator

from boig.feed.rules import Duplicates
from boig.language.settings import Dtype
from boig.reward.settings import Controls, Features, Fit, HeadRule, JudgeRule, TreesRule, Weights
from boig.section import Resources, Section, Seed


class TrainReward(Section):
    """Reward model on BoigLLM, and the independent judge."""

    seed: Seed
    """Of weights, pairs, augmentation, dropout and bootstrap."""
    feed: str
    """Folder of the raw feed; a simulated one holds `ceiling.json`, to which the scores are compared."""
    duplicates: Duplicates
    """When two pictures of different splits are a leak; as in ingest."""
    dtype: Dtype
    """Of BoigLLM's frozen weights. float32 on a CPU."""
    features: Features
    head: HeadRule
    trees: TreesRule
    fit: Fit
    unknown_folds: Annotated[int, Field(ge=0)]
    """Groups of accounts that are left out of a training of their own in turn, so that intervals for unknown accounts are calibrated on
    accounts that are unknown indeed. Below 2 accounts are hidden from the reward that has learned from them: cheaper, and too narrow."""
    controls: Controls
    weights: Weights
    judge: JudgeRule
    resources: Resources
    """Of the reward, which is trained in one process; the judge and the controls train beside it, on as much."""

    @model_validator(mode="after")
    def _one_process(self) -> "TrainReward":
        if self.resources.workers != 1:
            raise ValueError(f"resources.workers is {self.resources.workers}, but a reward is trained in one process; set it to 1")
        return self
