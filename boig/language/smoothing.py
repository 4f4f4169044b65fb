"""A loss that knows that 0.43 is almost 0.44: numbers are taught as a narrow bell around the true one.

With one token per number, plain cross-entropy calls 0.44 as wrong as 0.93, and a few thousand posts show most numbers
only a few times in each context. Spreading the target over its neighbors (a discretized Gaussian, as in Imani & White
2018, "Improving Regression Performance with Distributional Losses") teaches all of them at once. Ours, not the paper's.
"""

import torch
from transformers import PreTrainedTokenizerBase

from boig.language.tokenizer import NUMBERS, number_tokens

IGNORED = -100


class NumberLoss:
    """Cross-entropy in which the target of a number token is a bell over its family's numbers."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, width: float):
        """Prepare the bells.

        Args:
            tokenizer: one whose numbers are single tokens.
            width: standard deviation of the bell in the unit of the value, 0–1; 0.03 is three hundredths.

        Raises:
            ValueError: the tokenizer spells its numbers.
        """
        families = list(number_tokens(tokenizer).values())
        if any(len(tokens) != NUMBERS for tokens in families):  # one that splits digits has ten of them
            raise ValueError("number_smoothing needs a tokenizer with one token per number; set it to 0 for a pretrained base")
        self._families = []
        for tokens in families:
            ids = torch.tensor([token for token, _ in tokens])  # (F,)
            value = torch.tensor([value for _, value in tokens], dtype=torch.float64)
            bell = torch.softmax(-0.5 * ((value[:, None] - value[None]) / width) ** 2, dim=1).float()  # (F, F), rows sum to 1
            place = torch.full((len(tokenizer),), -1)
            place[ids] = torch.arange(len(ids))
            self._families.append((ids, bell, place))

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(N, V) logits and (N,) token ids → (N,) nats."""
        log_probs = torch.log_softmax(logits.float(), dim=-1)
        loss = -log_probs.gather(1, targets[:, None])[:, 0]
        for ids, bell, place in self._families:
            ids, bell, where = ids.to(targets.device), bell.to(targets.device), place.to(targets.device)[targets]
            rows = where >= 0
            soft = -(log_probs[rows][:, ids] * bell[where[rows]]).sum(1)
            loss = loss.masked_scatter(rows, soft)
        return loss
