"""How likely each color is to be listed, read off the model's distributions instead of counted in its draws.

Sixteen draws from forty names count a color of 15 % as anything between none and a third. But at each name the model gives a
probability to every name, not only to the one drawn: averaging those over the draws has the same expectation and a fraction
of the variance (Rao-Blackwell). The first name's is exact, the later ones' is averaged over what came before.
"""

from dataclasses import dataclass

import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from boig.verbalizer.palette import NAMES

_OPENING = '"name":"'


@dataclass(frozen=True)
class NameTokens:
    """Where a tokenizer has a token for each name."""

    names: tuple[int, ...]
    """In the order of `NAMES`."""
    openings: tuple[int, ...]
    """Tokens after which a name comes."""


def name_tokens(tokenizer: PreTrainedTokenizerBase) -> NameTokens | None:
    """The tokens of the names; None for a tokenizer that spells some name, or what comes before it, in several tokens."""
    spelled = tokenizer(list(NAMES), add_special_tokens=False)["input_ids"]
    openings = tuple(sorted(token for text, token in tokenizer.get_vocab().items() if text.endswith(_OPENING)))
    if not openings or any(len(ids) != 1 for ids in spelled):
        return None
    return NameTokens(tuple(ids[0] for ids in spelled), openings)


class NameOdds(LogitsProcessor):
    """Watches the masked logits of names. Goes between the grammar and the draw; serves one `generate` call."""

    def __init__(self, tokens: NameTokens, batch: int, temperature: float):
        self._names, self._openings, self._temperature = torch.tensor(tokens.names), torch.tensor(tokens.openings), temperature
        self.listed = torch.zeros(batch, len(tokens.names), dtype=torch.float64)
        """(B, 40) probability that each name is listed, given what was drawn before it."""
        self._taken = torch.zeros(batch, len(tokens.names), dtype=torch.bool)
        self._asked = torch.zeros(batch, dtype=torch.bool)
        self._rows = torch.arange(batch)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """(B, T) tokens so far and (B, V) masked logits → the same logits."""
        last = input_ids[:, -1:].cpu()
        self._taken |= self._asked[:, None] & (last == self._names)
        self._asked = (last == self._openings).any(1)
        if self._asked.any():
            odds = torch.softmax(scores.cpu()[:, self._names].double() / self._temperature, dim=1)  # (B, 40)
            # A name that is listed already adds nothing: `tidy` keeps the first.
            self.listed[self._rows[self._asked]] += odds.masked_fill(self._taken, 0.0)[self._asked]
        return scores

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some rows, by their indices. `listed` has all of them still."""
        self._rows, self._taken, self._asked = self._rows[rows], self._taken[rows], self._asked[rows]
