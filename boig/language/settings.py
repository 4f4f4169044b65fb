"""What `params.yaml: train_boigllm` can say, as frozen types. No torch here.

*sister* is the published recipe of a sister model of the group (paper.md §4); where it is silent the value is ours.
"""

from typing import Annotated, Literal

from pydantic import Field

from boig.section import Count, Positive, Section, Share

Weight = Annotated[float, Field(ge=0)]


class Scratch(Section):
    """A small Llama from fresh weights, with its own tokenizer; used where `base` is `scratch`."""

    vocab_size: Count
    """Tokens in all: bytes, numbers, color names, JSON pieces, and frequent pieces of the posts' text."""
    hidden_size: Count
    """Width; a multiple of 2 × heads."""
    layers: Count
    heads: Count
    feed_forward: Count
    """Width inside the gated MLP."""


class Lora(Section):
    """A low-rank adapter instead of full fine-tuning. The sister model was tuned in full."""

    rank: Count
    alpha: Count
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...]
    """Ends of module names, for example `q_proj`."""
    merge: bool
    """Fold the adapter into the weights that are written; else the folder holds the adapter, and names its base."""


class Blur(Section):
    """Noise on the briefs of training examples, drawn anew in each pass, so that a post is not known by its hour, wording or exact KPI.
    Ours; all zero for none."""

    days: Annotated[int, Field(ge=0)]
    """The time moves by up to so many days either way, and, unless that is 0, by up to two hours."""
    words: Share
    """Share of the caption's words that are left out."""
    kpi: Weight
    """Standard deviation of what is added to the KPI, 0–100; the bucket stays."""


class Training(Section):
    """AdamW with cosine decay (sister) on both directions."""

    passes: Count
    """Times that each post of split train is seen in the content direction. Sister: 10 epochs."""
    behavior_share: Share
    """Share of posts and negatives that each pass also shows in the behavior direction, drawn anew per pass."""
    unknown_share: Share
    """Share of content examples whose account is replaced by a made-up one, so that the model knows what to do with an unseen account."""
    blur: Blur
    batch_size: Count
    """Examples per update, over all workers and accumulated steps."""
    micro_batch: Count
    """Examples per forward pass of a worker; gradients are accumulated up to `batch_size`."""
    sharding: Literal["none", "full"]
    """Of parameters, gradients and optimizer state over the workers: `none` copies them to each (DDP), `full` gives each its
    share (FSDP2). With one worker there is nothing to shard."""
    activation_checkpointing: bool
    """Compute activations anew in the backward pass instead of keeping them: less memory for a third more time."""
    learning_rate: Positive
    """At its height. Sister: 2e-5 for a pretrained 13B model."""
    warmup_share: Share
    """Share of the steps over which the learning rate rises. Sister: 0.03."""
    weight_decay: Weight
    max_grad_norm: Positive
    """Largest norm of the gradient."""
    number_smoothing: Weight
    """Standard deviation, 0–1, of the bell over neighboring values that is a number's target; 0 is plain cross-entropy, and a
    must for a base whose tokenizer spells its numbers."""
    evaluations: Count
    """Checkpoints, evenly spaced, each with the loss on split val; the best one is kept."""
    patience: Count | None
    """Evaluations without a lower loss after which training ends; null never ends it early."""
    max_tokens: Count
    """Examples that are longer, or longer than the model reads, are left out and counted. Sister: 2,048."""


class Decoding(Section):
    """How descriptions for the metrics are chosen: the one of least expected error under the model's own draws."""

    draws: Count
    """Draws per brief; 1 takes the most likely description token by token instead."""
    temperature: Positive
    """Of the draws."""
    batch_size: Count
    """Rows decoded together."""
    max_posts: Count
    """Posts of a split that are evaluated at most, drawn by seed."""
    shots: tuple[Literal[0, 3, 5], ...]
    """Numbers of worked examples with which the *untuned* base is evaluated; for pretrained bases only."""
    workers: Count
    """Actors that decode."""


Dtype = Literal["float32", "bfloat16", "float16"]
