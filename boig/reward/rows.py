"""Posts as a reward is trained on them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from boig.brief import Brief
from boig.reward import encoder
from boig.reward.encoder import Numbers
from boig.reward.settings import Fit
from boig.reward.states import States
from boig.verbalizer.form import Verbalization


@dataclass(frozen=True)
class Posts:
    """Briefs with what their pictures show and the KPI that they got, row by row."""

    briefs: list[Brief]
    verbalizations: list[Verbalization]
    kpi: np.ndarray
    """(N,) 0–100."""

    def __len__(self) -> int:
        return len(self.briefs)

    def at(self, rows: np.ndarray) -> "Posts":
        """The posts with these numbers, (M,) int."""
        return Posts([self.briefs[i] for i in rows], [self.verbalizations[i] for i in rows], self.kpi[rows])

    def of(self, accounts: Collection[str], *, inside: bool) -> "Posts":
        """The posts of these accounts, or of all others."""
        return self.at(np.flatnonzero([(b.account in accounts) == inside for b in self.briefs]))


class TrainingRows:
    """Training posts as arguments of a model's `forward`, with augmentation; `states` is there where BoigLLM is frozen."""

    def __init__(self, posts: Posts, states: States | None, tokenizer: PreTrainedTokenizerBase, numbers: Numbers, rule: Fit):
        self._rule, self._pad = rule, tokenizer.pad_token_id
        self._picture = numbers.standardize(numbers.picture.encode(posts.briefs, posts.verbalizations))  # (N, P)
        both = (posts.briefs, [encoder.anonymous(b) for b in posts.briefs])
        self._context = np.stack([numbers.context.encode(briefs) for briefs in both])  # (2, N, C)
        asked = [encoder.prompts(briefs, posts.verbalizations, tokenizer) for briefs in both]
        self._ids = [prompts.ids for prompts in asked]  # (2, N)
        self._text = torch.stack([states(prompts) for prompts in asked]) if states else None  # (2, N, 2 D)

    def inputs(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Arguments of `forward` for rows (B,), some of them with their account hidden."""
        hide = (rng.random(len(rows)) < self._rule.account_dropout).astype(np.int64)
        numbers = {"picture": torch.from_numpy(self._picture[rows]), "context": torch.from_numpy(self._context[hide, rows])}
        if self._text is not None:
            return numbers | {"text": self._text[torch.from_numpy(hide), torch.from_numpy(rows)]}
        return numbers | self._padded([self._ids[h][r] for h, r in zip(hide, rows, strict=True)])

    def _padded(self, ids: list[list[int]]) -> dict[str, torch.Tensor]:
        longest = max(len(i) for i in ids)
        tokens = torch.tensor([i + [self._pad] * (longest - len(i)) for i in ids])
        mask = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i in ids])
        return {"input_ids": tokens, "attention_mask": mask}
