"""Rows of tokens through `generate`, constrained: what all rows begin with is computed once.

Few-shot prompts differ only after the instruction and the worked examples. Their keys and values are computed for one row
and copied to each batch; pads stand between them and the rest of a row, masked, so that positions are those of the prompt.
"""

import copy
from collections.abc import Sequence

import torch
import xgrammar
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from boig.language.grammar import Constrain, Draw

_LEAST_PREFIX = 32  # tokens; for fewer a second forward pass costs more than it saves


def tokenize(prompts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Prompts as `boig.language.prompts` writes them for the tokenizer → token ids."""
    special = tokenizer.chat_template is None  # a chat template has written its own
    return tokenizer(prompts, add_special_tokens=special)["input_ids"] if prompts else []


def shared(rows: Sequence[list[int]]) -> int:
    """Number of tokens that all rows begin with, short of the last token of each; 0 where it is not worth a pass of its own."""
    if not rows:
        return 0
    first, last = min(rows), max(rows)  # in dictionary order: what these two share, all between them share
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    same = min(same, min(map(len, rows)) - 1)
    return same if same >= _LEAST_PREFIX else 0


@torch.inference_mode()
def prefill(model: PreTrainedModel, tokens: list[int]) -> DynamicCache | None:
    """Keys and values of one row of tokens; None for no tokens, or a model that keeps more or less than all of them."""
    if not tokens:
        return None
    cache = model(input_ids=torch.tensor([tokens], device=model.device), use_cache=True, logits_to_keep=1).past_key_values
    # A sliding window counts pads, which stand elsewhere without the cache.
    return cache if isinstance(cache, DynamicCache) and not any(cache.is_sliding) else None


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    grammar: xgrammar.CompiledGrammar,
    rows: list[list[int]],
    prefix: DynamicCache | None,
    *,
    seeds: list[int],
    temperature: float,
    limit: int,
    watch: LogitsProcessor | None,
) -> list[str]:
    """A text of the grammar after each row.

    Args:
        model: any causal language model.
        tokenizer: its tokenizer.
        grammar: compiled for it.
        rows: token ids, (B,) of different lengths.
        prefix: keys and values of what all rows begin with, see `prefill`.
        seeds: one per row, for draws.
        temperature: 0 takes the most likely token.
        limit: new tokens per row.
        watch: sees the masked logits before the draw.
    """
    kept = prefix.get_seq_length() if prefix is not None else 0
    width = max(map(len, rows))
    pads = [width - len(row) for row in rows]
    ids = [row[:kept] + [tokenizer.pad_token_id] * pad + row[kept:] for row, pad in zip(rows, pads, strict=True)]
    mask = [[1] * kept + [0] * pad + [1] * (width - kept - pad) for pad in pads]
    processors = LogitsProcessorList([Constrain(grammar, tokenizer, len(rows)), *([watch] if watch else [])])
    if temperature > 0:
        processors.append(Draw(seeds, temperature))
    tokens = model.generate(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        past_key_values=_copies(prefix, len(rows)),
        max_new_tokens=limit,
        do_sample=False,
        num_beams=1,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        logits_processor=processors,
    )  # (B, width + new)
    return tokenizer.batch_decode(tokens[:, width:], skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _copies(prefix: DynamicCache | None, rows: int) -> DynamicCache | None:
    """The cache of each row: `generate` appends to it."""
    if prefix is None:
        return None
    cache = copy.deepcopy(prefix)
    cache.batch_repeat_interleave(rows)
    return cache
