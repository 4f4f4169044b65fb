"""What the alignment methods can be told, as frozen types: part of `params.yaml: align_boigsd`. No torch here.

Each field says its unit and where its published value comes from. *paper* is Black et al., arXiv 2305.13301 (DDPO); *ddpo-pytorch* is the
configuration of its reference implementation; where BOIG's own paper (2311.10995) is silent, which is everywhere, the value is ours.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Settings(BaseModel):
    """Frozen; every key required; unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Lora(Settings):
    """The low-rank adapter of the U-Net. ddpo-pytorch: rank 4, alpha 4, on the attention projections."""

    rank: Positive
    alpha: Positive
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...]
    """Ends of module names, for example `to_q`, `to_out.0`, `conv1`."""


class Optimizer(Settings):
    """AdamW. ddpo-pytorch: lr 1e-4, betas 0.9 and 0.999, decay 1e-4, clip 1.0."""

    lr: Annotated[float, Field(gt=0)]
    warmup: Annotated[int, Field(ge=0)]
    """Iterations over which the learning rate rises linearly; 0 for none."""
    decay: Weight
    """Weight decay per step, times the learning rate."""
    clip: Annotated[float, Field(gt=0)]
    """Largest norm of the gradient; above it the gradient is scaled down."""
    ema: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the adapter's moving average per update, which is what is evaluated and shipped; 0 keeps none."""


class Sampling(Settings):
    """How finished pictures are drawn: deterministic DDIM."""

    steps: Positive
    guidance: Weight
    """Scale of classifier-free guidance; 1 is none."""
    kpi: tuple[str, str] | None
    """(wanted, contrast): buckets written into the prompt, guidance leads from the second to the first. None: the plain prompt."""


class Supervised(Settings):
    """Fine-tuning on pictures people liked. BOIG: "fine-tuning on high-KPI samples" (PFT); paper silent on every number."""

    iterations: Positive
    batch: Positive
    """Pictures per update, over all workers."""
    floor: Annotated[float, Field(ge=0, le=100)]
    """Posts whose KPI is at least this are used."""
    sharpness: Weight
    """A picture is drawn with probability proportional to exp(sharpness × (KPI − floor) / 100); 0 is uniform."""
    dropout: Share
    """Share of pictures whose prompt is dropped, so that guidance keeps working."""
    lora: Lora
    optimizer: Optimizer
    sampling: Sampling


class KpiGuided(Settings):
    """Supervised training with the KPI bucket as words of the prompt, sampled with guidance from one bucket to another. Ours."""

    iterations: Positive
    batch: Positive
    dropout: Share
    """Share of pictures whose KPI words are dropped."""
    lora: Lora
    optimizer: Optimizer
    sampling: Sampling


class Ddpo(Settings):
    """DDPO with importance sampling, as published."""

    iterations: Positive
    """Rollouts. ddpo-pytorch: 100."""
    steps: Positive
    """Denoising steps, all of them trained. Paper and ddpo-pytorch: 50."""
    eta: Annotated[float, Field(gt=0, le=1)]
    """Paper and ddpo-pytorch: 1."""
    guidance: Weight
    """In rollout and in training. Paper and ddpo-pytorch: 5."""
    pictures: Positive
    """Per rollout. Paper: 256."""
    chunk: Positive
    """Pictures per forward pass."""
    chunks_per_update: Positive
    """ddpo-pytorch (dgx): 64 pictures over all GPUs an update, 256 a rollout."""
    epochs: Positive
    """Passes over a rollout. Paper and ddpo-pytorch: 1."""
    clip: Annotated[float, Field(gt=0)]
    """Of the importance ratio. Paper and ddpo-pytorch: 1e-4."""
    advantage_clip: Annotated[float, Field(gt=0)]
    """ddpo-pytorch: 10 (5 in its first version)."""
    history: Positive
    """Last rewards remembered per prompt. Paper and ddpo-pytorch: 16."""
    history_min: Positive
    """Rewards of a prompt needed before its own statistics replace the rollout's. ddpo-pytorch: 16."""
    prompts: Positive
    """Training prompts; each recurs, as the paper's 45 animals do."""
    lora: Lora
    optimizer: Optimizer
    sampling: Sampling


class Group(Settings):
    """Our method: groups of pictures per prompt, few steps, guards against reward hacking."""

    iterations: Positive
    steps: Positive
    """Denoising steps of a rollout. DDPO: 50; DanceGRPO and Flow-GRPO train on 10–25."""
    eta: Annotated[float, Field(gt=0, le=1)]
    guidance: Weight
    """In rollout and training; 1 is none and halves the cost."""
    prompts: Positive
    """Per rollout."""
    group: Annotated[int, Field(ge=2)]
    """Pictures per prompt."""
    chunk: Positive
    """Pictures per forward pass, in rollout and training alike, so that the ratio is exactly 1 at the start."""
    chunks_per_update: Positive
    epochs: Positive
    skip_last: Annotated[int, Field(ge=0)]
    """Last steps that are drawn deterministically and not trained: their sigma is near 0."""
    window: Annotated[int, Field(ge=0)]
    """Length of a sliding window of stochastic, trained steps (MixGRPO); 0 is all but the last ones."""
    trained_steps: Annotated[int, Field(ge=0)]
    """At most this many of the stochastic steps are trained per update, drawn at random; 0 is all."""
    clip: Annotated[float, Field(gt=0)]
    """Of the ratio of log-probabilities that are means over the latent's dimensions, hence small."""
    advantage_clip: Annotated[float, Field(gt=0)]
    kl: Weight
    """Weight of the KL to the base model (the same weights, adapter off), mean over latent dimensions."""
    weights: dict[str, float]
    """Weight in the advantage of each part of the reward, each normalized within the prompt: `total`, any part, `diversity`."""
    lora: Lora
    optimizer: Optimizer
    sampling: Sampling


class Panel(Settings):
    """A fixed set of held-out prompts, drawn every few iterations: contact sheet, judge, diversity, early stop."""

    prompts: Positive
    seeds: Positive
    """Pictures per prompt."""
    shown: Positive
    """Prompts on the contact sheet, one picture each."""
    every: Positive
    """Iterations between two looks, as a share of a method's run: looks per run."""
    patience: Positive
    """Looks without a better judge after which a run stops."""
    diversity_floor: Share
    """A look whose diversity is below this share of the base's cannot be the best one."""
    agreement_slack: Share
    """A look whose share of found products is this much below the base's cannot be the best one."""
