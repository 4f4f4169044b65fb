"""What the alignment methods can be told, as frozen types: part of `params.yaml: align_boigsd`. No torch here.

Each field says its unit and where its published value comes from. *paper* is Black et al., arXiv 2305.13301 (DDPO); *ddpo-pytorch* is the
configuration of its reference implementation; where BOIG's own paper (2311.10995) is silent, which is everywhere, the value is ours.
"""

from typing import Annotated, Literal

from pydantic import Field

from boig.section import Count, Positive, Section, Share

Weight = Annotated[float, Field(ge=0)]


class Lora(Section):
    """The low-rank adapter of the U-Net. ddpo-pytorch: rank 4, alpha 4, on the attention projections."""

    rank: Count
    alpha: Count
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...]
    """Ends of module names, for example `to_q`, `to_out.0`, `conv1`."""


class Optimizer(Section):
    """AdamW. ddpo-pytorch: lr 1e-4, betas 0.9 and 0.999, decay 1e-4, clip 1.0."""

    learning_rate: Positive
    warmup_iterations: Annotated[int, Field(ge=0)]
    """Iterations over which the learning rate rises linearly; 0 for none."""
    weight_decay: Weight
    """Per step, times the learning rate."""
    max_grad_norm: Positive
    """Largest norm of the gradient; above it the gradient is scaled down."""
    ema: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the adapter's moving average per update, which is what is evaluated and shipped; 0 keeps none."""


class Sampling(Section):
    """How finished pictures are drawn: deterministic DDIM."""

    steps: Count
    guidance: Weight
    """Scale of classifier-free guidance; 1 is none."""
    kpi: tuple[str, str] | None
    """(wanted, contrast): KPI buckets; guidance leads from no prompt and the second to the prompt and the first. None: the prompt alone."""


class Supervised(Section):
    """Fine-tuning on pictures people liked. BOIG: "fine-tuning on high-KPI samples" (PFT); paper silent on every number."""

    iterations: Count
    batch_size: Count
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


class KpiGuided(Section):
    """Supervised training on all pictures, each told its KPI bucket, sampled with guidance from one bucket to another. Ours."""

    iterations: Count
    batch_size: Count
    dropout: Share
    """Share of pictures whose prompt is dropped, and, drawn apart, whose KPI is."""
    lora: Lora
    optimizer: Optimizer
    sampling: Sampling


class Ddpo(Section):
    """DDPO with importance sampling, as published."""

    iterations: Count
    """Rollouts. ddpo-pytorch: 100."""
    steps: Count
    """Denoising steps, all of them trained. Paper and ddpo-pytorch: 50."""
    eta: Annotated[float, Field(gt=0, le=1)]
    """Paper and ddpo-pytorch: 1."""
    guidance: Weight
    """In rollout and in training. Paper and ddpo-pytorch: 5."""
    pictures: Count
    """Per rollout. Paper: 256."""
    chunk: Count
    """Pictures per forward pass."""
    chunks_per_update: Count
    """ddpo-pytorch (dgx): 64 pictures over all GPUs an update, 256 a rollout."""
    epochs: Count
    """Passes over a rollout. Paper and ddpo-pytorch: 1."""
    clip: Positive
    """Of the importance ratio. Paper and ddpo-pytorch: 1e-4."""
    advantage_clip: Positive
    """ddpo-pytorch: 10 (5 in its first version)."""
    history: Count
    """Last rewards remembered per prompt. Paper and ddpo-pytorch: 16."""
    history_min: Count
    """Rewards of a prompt needed before its own statistics replace the rollout's. ddpo-pytorch: 16."""
    prompts: Count
    """Training prompts; each recurs, as the paper's 45 animals do."""
    lora: Lora
    optimizer: Optimizer
    sampling: Sampling


class Group(Section):
    """Our method: groups of pictures per prompt, few steps, guards against reward hacking."""

    iterations: Count
    steps: Count
    """Denoising steps of a rollout. DDPO: 50; DanceGRPO and Flow-GRPO train on 10–25."""
    eta: Annotated[float, Field(gt=0, le=1)]
    guidance: Weight
    """In rollout and training; 1 is none and halves the cost."""
    prompts: Count
    """Per rollout."""
    group: Annotated[int, Field(ge=2)]
    """Pictures per prompt."""
    chunk: Count
    """Pictures per forward pass, in rollout and training alike, so that the ratio is exactly 1 at the start."""
    chunks_per_update: Count
    epochs: Count
    skip_last: Annotated[int, Field(ge=0)]
    """Last steps that are drawn deterministically and not trained: their sigma is near 0."""
    window: Annotated[int, Field(ge=0)]
    """Length of a sliding window of stochastic, trained steps (MixGRPO); 0 is all but the last ones."""
    trained_steps: Annotated[int, Field(ge=0)]
    """At most this many of the stochastic steps are trained per update, drawn at random; 0 is all."""
    clip: Positive
    """Of the ratio of log-probabilities that are means over the latent's dimensions, hence small."""
    advantage_clip: Positive
    kl: Weight
    """Weight of the KL to the base model (the same weights, adapter off), mean over latent dimensions."""
    kl_every: Count
    """The KL is taken at every n-th trained step, in turn, with n times the weight: each costs a pass through the base."""
    weights: dict[str, float]
    """Weight in the advantage of each part of the reward, each normalized within the prompt: `total`, any part, `diversity`."""
    lora: Lora
    optimizer: Optimizer
    sampling: Sampling


class Base(Section):
    """The model that is aligned."""

    model: str
    """Diffusers folder, or hub id."""
    revision: str
    """Commit of a hub id; empty for a folder."""
    device: str
    """Of torch, for training."""
    dtype: Literal["float32", "bfloat16", "float16"]
    """Of the networks. Trajectory, scheduler, log-probabilities and adapter are float32 whatever it is."""
    channels_last: bool
    """Memory layout of the U-Net; faster on GPUs."""
    compile: bool
    """Compile the U-Net with static shapes; pays on GPUs."""


class Rewarding(Section):
    """Who scores."""

    model: str
    """Folder of the reward."""
    judge: str
    """Folder of the judge, which scores the panel and never trains."""
    weights: dict[str, float]
    """Of the reward's parts in its total; a part that costs time and has no weight is not computed."""
    device: str
    """Of torch, for verbalizer and reward."""


class Panel(Section):
    """A fixed set of held-out prompts, drawn now and then: contact sheet, judge, diversity, early stop. Ours; papers are silent."""

    prompts: Count
    """From split val."""
    seeds: Count
    """Pictures per prompt."""
    shown: Count
    """Prompts on the contact sheet, one picture each."""
    looks: Count
    """Times per run, beside the one at the base."""
    batch_size: Count
    """Pictures per forward pass."""
    patience: Count
    """Looks without a better judge after which our method stops."""
    diversity_floor: Share
    """A look whose diversity is below this share of the base's is not shipped."""
    mismatch_slack: Share
    """A look whose share of missed products is this much above the base's is not shipped."""
