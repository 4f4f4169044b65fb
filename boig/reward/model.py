"""The engagement reward as a network: BoigLLM's hidden states and the text's own numbers, read by an ensemble of small heads.

Method: paper.md §5, "engagement simulation": a model over the behavior prompt predicts the KPI. Deviations:
- the hidden states of all tokens are averaged and put beside the last one, where a reward model usually reads the last one
  alone: an average has less variance, which counts with few posts;
- the verbalization's numbers come along as numbers (see `boig.reward.features`);
- a head answers with a mean and a spread (Nix & Weigend 1994), and several heads of different random start form an
  ensemble (Lakshminarayanan et al. 2017): their disagreement is part of the uncertainty.

Legend: B posts, T tokens, D hidden size, K members, P picture features, C context features, H hidden, R rank.
"""

import math

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

_SPREAD = (-3.0, 1.5)  # bounds of log sigma, in standard deviations of the KPI: no post is certain, none is hopeless


class HeadConfig(PretrainedConfig):
    """Sizes of `RewardHead`."""

    model_type = "boig_reward_head"

    def __init__(
        self,
        text_size: int = 0,
        picture_size: int = 0,
        context_size: int = 0,
        members: int = 1,
        hidden: int = 1,
        rank: int = 1,
        dropout: float = 0.0,
        text_dropout: float = 0.0,
        **kwargs,
    ):
        self.text_size, self.picture_size, self.context_size = text_size, picture_size, context_size
        self.members, self.hidden, self.rank = members, hidden, rank
        self.dropout, self.text_dropout = dropout, text_dropout
        super().__init__(**{**kwargs, "num_labels": 1})  # TRL wants one number per text


class RewardHead(PreTrainedModel):
    """K small networks on the same inputs."""

    config_class = HeadConfig
    base_model_prefix = "head"

    def __init__(self, config: HeadConfig):
        super().__init__(config)
        k, p, c, t = config.members, config.picture_size, config.context_size, config.text_size
        self.text_norm = nn.LayerNorm(t, elementwise_affine=False)
        self.hidden_picture = _weights(k, p, config.hidden)
        self.hidden_context = _weights(k, c, config.hidden)
        self.hidden_text = _weights(k, t, config.hidden)
        self.hidden_bias = nn.Parameter(torch.zeros(k, 1, config.hidden))
        self.picture_factor = _weights(k, p, config.rank)
        self.context_factor = _weights(k, c, config.rank)
        self.from_hidden = _weights(k, config.hidden, 2, scale=0.1)
        self.from_factors = _weights(k, config.rank, 2, scale=0.1)
        self.linear = nn.Parameter(torch.zeros(k, p + c, 2))
        self.bias = nn.Parameter(torch.zeros(k, 1, 2))
        self.drop = nn.Dropout(config.dropout)
        self.drop_text = nn.Dropout(config.text_dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Weights are drawn in the constructor."""

    def forward(self, text: torch.Tensor, picture: torch.Tensor, context: torch.Tensor) -> SequenceClassifierOutput:
        """Score a batch.

        Args:
            text: (B, D) pooled hidden states.
            picture: (B, P) standardized picture features.
            context: (B, C) standardized context features.

        Returns:
            logits (K, B, 2): mean and log sigma of each member, in standard deviations of the training KPI.
        """
        k = self.config.members
        # Each member drops other inputs: (B, ·) → (K, B, ·).
        text = self.drop_text(self.text_norm(text).expand(k, -1, -1))
        picture, context = self.drop(picture.expand(k, -1, -1)), self.drop(context.expand(k, -1, -1))
        hidden = picture @ self.hidden_picture + context @ self.hidden_context + text @ self.hidden_text + self.hidden_bias
        hidden = self.drop(nn.functional.gelu(hidden))  # (K, B, H)
        factors = self.drop((picture @ self.picture_factor) * (context @ self.context_factor))  # (K, B, R)
        out = hidden @ self.from_hidden + factors @ self.from_factors + torch.cat([picture, context], dim=-1) @ self.linear + self.bias
        return SequenceClassifierOutput(logits=torch.stack([out[..., 0], out[..., 1].clamp(*_SPREAD)], dim=-1))


class EngagementModel(PreTrainedModel):
    """The head on a backbone that is trained with it, through an adapter."""

    config_class = HeadConfig
    base_model_prefix = "engagement"

    def __init__(self, backbone: nn.Module, head: RewardHead):
        super().__init__(head.config)
        self.backbone, self.head = backbone, head

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, picture: torch.Tensor, context: torch.Tensor
    ) -> SequenceClassifierOutput:
        """As `RewardHead.forward`, from tokens (B, T)."""
        return self.head(text=pool(self.backbone, input_ids, attention_mask), picture=picture, context=context)


def pool(backbone: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens and state of the last token: (B, T) → (B, 2 D), float32. Padding is on the right."""
    states = backbone(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state.float()  # (B, T, D)
    mask = attention_mask[..., None].float()
    mean = (states * mask).sum(1) / mask.sum(1)
    last = states[torch.arange(len(states), device=states.device), attention_mask.sum(1) - 1]
    return torch.cat([mean, last], dim=-1)


def combine(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and sigma of the equal mixture of the members: (K, B, 2) → (B,), (B,), float64."""
    mean, spread = logits[..., 0].double(), logits[..., 1].double()
    variance = torch.exp(2 * spread).mean(0) + mean.var(0, unbiased=False)
    return mean.mean(0), variance.sqrt()


def _weights(members: int, inputs: int, outputs: int, scale: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.randn(members, inputs, outputs) * scale / math.sqrt(max(inputs, 1)))
