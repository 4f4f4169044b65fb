"""`params.yaml: train_reward`."""

from boig.language.settings import Dtype
from boig.reward.settings import Features, Fit, HeadRule, JudgeRule, Weights
from boig.section import Resources, Section, Seed


class TrainReward(Section):
    """Reward model on BoigLLM, and the independent judge."""

    seed: Seed
    """Of weights, pairs, augmentation, dropout and bootstrap."""
    feed: str
    """Folder of the raw feed; a simulated one holds `ceiling.json`, to which the scores are compared."""
    dtype: Dtype
    """Of BoigLLM's frozen weights. float32 on a CPU."""
    features: Features
    head: HeadRule
    fit: Fit
    weights: Weights
    judge: JudgeRule
    resources: Resources
    """Of the reward; the judge and the controls train beside it, on as much."""
