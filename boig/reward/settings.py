"""The parameters of reward and judge: groups of `params.yaml: train_reward`. Sources of the values are in PAPER.md."""

from typing import Annotated

from pydantic import Field

from boig.section import Count, Positive, Section, Share

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Features(Section):
    """How much of the text becomes numbers beside the tokens."""

    max_labels: Count
    """Object labels with columns of their own, the most frequent in training."""
    max_words: Count
    """Words of captions with columns of their own, likewise."""


class HeadRule(Section):
    """The ensemble of small heads on BoigLLM's hidden states."""

    members: Count
    """Heads with their own random start; their mean is the score, their spread a part of its uncertainty."""
    hidden: Count
    """Width of a member's hidden layer."""
    rank: Count
    """Of the bilinear term picture × context."""
    dropout: Fraction
    """On the inputs of a head and on its hidden layer."""
    text_dropout: Fraction
    """On the hidden states of BoigLLM."""


class TreesRule(Section):
    """Boosted trees on the same numbers, averaged with the heads."""

    weight: Share
    """Of the trees in the mean of both; 0 for none."""
    rounds: Count
    """Trees."""
    learning_rate: Positive
    leaves: Annotated[int, Field(ge=2)]
    """Of one tree, at most."""
    min_posts: Count
    """In a leaf."""
    l2: Annotated[float, Field(ge=0)]
    """Shrinks leaves with few posts."""


class Fit(Section):
    """Training of the engagement reward."""

    epochs: Count
    """Passes over the training posts and negatives; pairs are drawn anew in each."""
    batch_size: Annotated[int, Field(ge=2, multiple_of=2)]
    """Posts per step, half as many pairs."""
    learning_rate: Positive
    """Of the heads; AdamW."""
    backbone_learning_rate: Positive
    """Of the adapter on BoigLLM, where there is one."""
    lora_rank: Annotated[int, Field(ge=0)]
    """Of the adapter on BoigLLM; 0 keeps BoigLLM frozen, and its hidden states are then computed once."""
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_share: Share
    """Share of the steps in which the learning rate rises; it then falls to zero as a cosine."""
    max_grad_norm: Positive
    pairwise: Annotated[float, Field(ge=0)]
    """Weight of the pairwise term; the pointwise term has weight 1."""
    pair_period_days: Count
    """Two posts of one account make a pair when they are of the same period of this length."""
    account_dropout: Share
    """Share of training posts whose account is hidden from the head, so that it knows what to do with an unknown one."""
    ema: Fraction
    """Decay of the running average of the weights; the average is what is kept."""
    evaluations: Count
    """How often the average is measured on `val`; the best one is kept."""
    checkpoints: Count
    """How often progress is saved for a resumed run."""


class Controls(Section):
    """What the reward is compared with: one member each, BoigLLM frozen."""

    shuffles: Count
    """Trainings on permuted KPI, each with its own permutation and start; their mean is reported, which should be near 0."""
    picture_ridge: bool
    """Also ridge regression on ImageNet features of the pictures: a plain rival on real pictures, of little meaning on rendered ones."""


class Weights(Section):
    """Of the parts in the reward's total, where nobody says otherwise. A part in KPI points counts as it is with weight 1."""

    engagement: float
    design: float
    """0 also saves the time of two more passes through BoigLLM."""
    mismatch: float
    """KPI points for a picture without the caption's product; 0 or below."""


class JudgeRule(Section):
    """The judge: pixels and context, other posts."""

    members: Count
    """Networks of their own random start, averaged."""
    channels: Count
    """Of the first convolution; the later ones have 2 and 3 times as many."""
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    dropout: Fraction
    side: Annotated[int, Field(ge=16, multiple_of=8)]
    """Pictures are reduced to this many pixels a side."""
    max_words: Count
    """Caption words that the judge knows, the most frequent of its posts."""
    word_loss: Annotated[float, Field(ge=0)]
    """Weight of telling the caption's words from the pixels, which teaches the judge what products look like."""
    checkpoints: Count
    """How often progress is saved for a resumed run."""
