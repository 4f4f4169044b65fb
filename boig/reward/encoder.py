"""From briefs and verbalizations to what the heads read: pooled hidden states of BoigLLM, and standardized numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from boig.brief import Brief
from boig.language.prompts import behavior_prompts, for_model
from boig.reward import continuing
from boig.reward.continuing import Prompts
from boig.reward.features import ContextSpace, PictureSpace
from boig.reward.settings import Features
from boig.verbalizer.form import Verbalization

_LEAST_SPREAD = 0.03  # a feature that hardly varies in training must not turn a small change into a large one
_NOTHING = Verbalization((), (0.0, 1.0, 0.0), (), "")
_FARTHEST = 4.0  # in standard deviations: pictures beyond the training data get no extra credit for it


@dataclass(frozen=True)
class Numbers:
    """Features of both sides, and the standardization of the picture's, fixed on the training posts."""

    context: ContextSpace
    picture: PictureSpace
    mean: np.ndarray
    """(P,) of the picture features."""
    spread: np.ndarray
    """(P,) standard deviation, bounded below."""

    @classmethod
    def fit(cls, briefs: Sequence[Brief], verbalizations: Sequence[Verbalization], rule: Features) -> "Numbers":
        picture = PictureSpace.fit(briefs, verbalizations, rule.max_labels, rule.max_words)
        raw = picture.encode(briefs, verbalizations).astype(np.float64)
        return cls(ContextSpace.fit(briefs, rule.max_words), picture, raw.mean(0), np.maximum(raw.std(0), _LEAST_SPREAD))

    def encode(self, briefs: Sequence[Brief], verbalizations: Sequence[Verbalization]) -> tuple[np.ndarray, np.ndarray]:
        """(N, P) standardized numbers of the pictures, and (N, C) of the briefs, float32."""
        return self.standardize(self.picture.encode(briefs, verbalizations)), self.context.encode(briefs)

    def standardize(self, raw: np.ndarray) -> np.ndarray:
        """(N, P) features of `picture` → float32, standardized and limited."""
        return np.clip((raw - self.mean) / self.spread, -_FARTHEST, _FARTHEST).astype(np.float32)

    def to_dict(self) -> dict:
        return {
            "context": asdict(self.context),
            "picture": asdict(self.picture),
            "mean": self.mean.tolist(),
            "spread": self.spread.tolist(),
        }

    @classmethod
    def from_dict(cls, raw: dict) -> "Numbers":
        context, picture = ({key: tuple(value) for key, value in raw[side].items()} for side in ("context", "picture"))
        return cls(ContextSpace(**context), PictureSpace(**picture), np.array(raw["mean"]), np.array(raw["spread"]))


def merged(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model with the adapter that it came with folded in."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def known(briefs: Sequence[Brief], space: ContextSpace) -> list[Brief]:
    """The briefs, with accounts that training has not seen left blank: the fallback for a new account is its industry."""
    return [b if b.account in space.accounts else anonymous(b) for b in briefs]


def anonymous(brief: Brief) -> Brief:
    """The brief without its account."""
    return replace(brief, account="")


def tokens(briefs: Sequence[Brief], verbalizations: Sequence[Verbalization], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of the behavior prompts."""
    texts = [for_model(prompt, tokenizer) for prompt in behavior_prompts(briefs, verbalizations)]
    # A chat template has written its own special tokens.
    return tokenizer(texts, add_special_tokens=tokenizer.chat_template is None)["input_ids"] if texts else []


def prompts(briefs: Sequence[Brief], verbalizations: Sequence[Verbalization], tokenizer: PreTrainedTokenizerBase) -> Prompts:
    """Behavior prompts, each with its beginning: the tokens that it has in common with its brief's prompt for a picture of nothing.

    So nothing is assumed of how a tokenizer cuts words, or of where a chat template puts the prompt.
    """
    distinct = list(dict.fromkeys(briefs))
    ids = tokens([*briefs, *distinct], [*verbalizations, *[_NOTHING] * len(distinct)], tokenizer)
    other = dict(zip(distinct, ids[len(briefs) :], strict=True))
    ids = ids[: len(briefs)]
    return Prompts(ids, [min(_in_common(i, other[b]), len(i) - 1) for b, i in zip(briefs, ids, strict=True)])


def _in_common(first: list[int], second: list[int]) -> int:
    """Tokens at the beginning of both."""
    return next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))


def pooled(backbone: nn.Module, asked: Prompts, pad: int) -> torch.Tensor:
    """(N, 2 D) float32 on the CPU: pooled hidden states of N prompts, what they share computed once.

    Raises:
        ValueError: a prompt is longer than the model's context.
    """
    limit = backbone.config.max_position_embeddings
    longest = max((len(i) for i in asked.ids), default=0)
    if longest > limit:
        raise ValueError(f"a behavior prompt has {longest} tokens, the language model reads {limit}; shorten captions or take another base")
    return continuing.pooled(backbone, asked, pad)
