"""The design-specification reward: does BoigLLM rather describe this picture when a high KPI is asked for than a low one?

Paper.md §5, second candidate. Score = (log p(verbalization | brief, high) − log p(verbalization | brief, low)) / tokens, in nats
per token. Ours: the KPI written beside the bucket word is the middle of the bucket's percentiles.
"""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from boig.brief import Brief
from boig.language.prompts import content_answer, content_prompt, for_model
from boig.reward import batches
from boig.verbalizer.form import Verbalization

MIDDLE = {"high": 95, "low": 30}  # percentiles 90–100 and 0–60 of an account's posts


def scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, briefs: Sequence[Brief], verbalizations: Sequence[Verbalization]
) -> np.ndarray:
    """(N,) float64, nats per token of the verbalization."""
    high, low = (_per_token(model, tokenizer, briefs, verbalizations, bucket) for bucket in ("high", "low"))
    return high - low


def _per_token(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    briefs: Sequence[Brief],
    verbalizations: Sequence[Verbalization],
    bucket: str,
) -> np.ndarray:
    """(N,) mean log-probability of the verbalization's tokens after the content prompt."""
    prompts = [for_model(content_prompt(b, bucket, MIDDLE[bucket]), tokenizer) for b in briefs]
    special = tokenizer.chat_template is None
    before = [len(i) for i in tokenizer(prompts, add_special_tokens=special)["input_ids"]] if prompts else []
    texts = [p + content_answer(v) for p, v in zip(prompts, verbalizations, strict=True)]
    ids = tokenizer(texts, add_special_tokens=special)["input_ids"] if texts else []
    out = np.zeros(len(ids))
    for at, input_ids, mask in batches.fixed(ids, tokenizer.pad_token_id, model.device):
        out[at] = _mean_log_probability(model, input_ids, mask, [before[i] for i in at])
    return out


@torch.no_grad()
def _mean_log_probability(model: PreTrainedModel, input_ids: torch.Tensor, mask: torch.Tensor, before: list[int]) -> np.ndarray:
    """(b,) over the tokens from `before` on; the batch has more rows than `before` has entries when it was filled up."""
    first = min(before)
    # Logits of the answers only: position t predicts token t + 1.
    logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False, logits_to_keep=input_ids.shape[1] - first + 1).logits[:, :-1]
    gold = input_ids[:, first:]  # (R, T − first)
    log_p = torch.log_softmax(logits.float(), dim=-1).gather(-1, gold[..., None])[..., 0].double()
    position = torch.arange(first, input_ids.shape[1], device=model.device)[None]
    wanted = (position >= torch.tensor(before, device=model.device)[:, None]) & mask[: len(before), first:].bool()
    return ((log_p[: len(before)] * wanted).sum(1) / wanted.sum(1).clamp(min=1)).cpu().numpy()
