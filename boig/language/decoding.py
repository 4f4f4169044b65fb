"""Texts of a grammar after rows of tokens: several draws of each prompt, what prompts have in common computed once.

A model of plain attention writes on a `boig.language.cascade.Cascade`; any other, one with windows for example, by transformers'
own `generate`, with each text after a prompt of its own.
"""

from collections.abc import Callable, Sequence

import torch
import xgrammar
from transformers import LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from boig.language.cascade import Cascade, attending, beginning, cascades
from boig.language.grammar import Constrain, Draw
from boig.language.odds import NameOdds

_CROWD = 0.75  # of the texts: when no more than so many need go on, the others are left behind, which copies what is held of the rest
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
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    grammar: xgrammar.CompiledGrammar,
    prompts: list[list[int]],
    *,
    seeds: list[int],
    temperature: float,
    limit: int,
    batch_size: int,
    watch: Callable[[int], NameOdds] | None = None,
) -> tuple[list[str], torch.Tensor | None]:
    """Texts of the grammar after each prompt.

    Args:
        model: any causal language model.
        tokenizer: its tokenizer.
        grammar: compiled for it.
        prompts: B lists of token ids.
        seeds: R, a multiple of B: those of the first prompt's texts, then those of the second's, …
        temperature: 0 takes the most likely token at each step, above 0 draws.
        limit: new tokens per text.
        batch_size: texts written together; those of one prompt always are.
        watch: makes what sees the masked logits of that many texts.

    Returns:
        R texts, and `NameOdds.listed` of each, (R, 40), or None without `watch`.
    """
    if not prompts:
        return [], None
    each = len(seeds) // len(prompts)
    # Equal lengths together: less padding, and the same neighbors whatever the order of the prompts.
    order, together = sorted(range(len(prompts)), key=lambda i: len(prompts[i])), max(1, batch_size // each)
    writer = _OnCascade(model, tokenizer, prompts) if cascades(model) else _OnItsOwn(model, tokenizer)
    texts: list[str] = [""] * len(seeds)
    listed: list[torch.Tensor] = []
    asked: list[int] = []
    for start in range(0, len(order), together):
        some = order[start : start + together]
        rows = [i * each + n for i in some for n in range(each)]
        constrain, odds = Constrain(grammar, tokenizer, len(rows)), watch(len(rows)) if watch else None
        draw = Draw([seeds[row] for row in rows], temperature, limit) if temperature > 0 else None
        written = writer([prompts[i] for i in some], each, [p for p in (constrain, odds, draw) if p], limit)
        asked += rows
        listed += [odds.listed] if odds else []
        for row, tokens in zip(rows, written, strict=True):
            texts[row] = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return texts, torch.cat(listed)[torch.tensor(asked).argsort()] if listed else None


class _OnCascade:
    """Writes texts of several prompts, and leaves those behind that have ended."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]]):
        """Run what all prompts begin with."""
        self._model, self._end, self._pad, self._same = model, tokenizer.eos_token_id, tokenizer.pad_token_id, shared(prompts)
        with attending(model):
            self._prefix = beginning(model, prompts[0][: self._same]) if self._same else None

    def __call__(self, prompts: list[list[int]], each: int, processors: list, limit: int) -> list[list[int]]:
        """B prompts → B x `each` texts as tokens, without the end."""
        with attending(self._model):
            cascade = Cascade(self._model, self._prefix, [p[self._same :] for p in prompts], each, self._pad)
            texts: list[list[int]] = [[] for _ in range(len(prompts) * each)]
            rows, tokens = torch.arange(len(texts)), torch.full((len(texts),), self._pad)
            done = torch.zeros(len(texts), dtype=torch.bool)
            for _ in range(limit):
                scores = cascade.logits
                for processor in processors:
                    scores = processor(tokens[:, None], scores)
                tokens = scores.argmax(dim=-1).cpu().masked_fill(done, self._pad)
                done |= tokens == self._end
                for row, token in zip(rows[~done].tolist(), tokens[~done].tolist(), strict=True):
                    texts[row].append(token)
                if done.all():
                    break
                prompts, kept, left = _running(done, each)
                if len(kept) <= _CROWD * len(done):
                    for processor in processors:
                        processor.keep(kept)
                    cascade.keep(prompts, kept)
                    rows, tokens, done, each = rows[kept], tokens[kept], done[kept], left
                cascade.step(tokens.to(self._model.device))
        return texts


def _running(done: torch.Tensor, each: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """(R,) which texts have ended, `each` of a prompt → prompts with texts to write, the texts to go on with, and how many of each.

    A prompt has as many as any other, and so may keep ended ones.
    """
    ended = done.view(-1, each)
    prompts = (~ended).any(dim=1).nonzero()[:, 0]
    left = int((~ended).sum(dim=1).max())
    first = ended[prompts].int().argsort(dim=1, stable=True)[:, :left]  # those that go on
    return prompts, (prompts[:, None] * each + first).flatten(), left


class _OnItsOwn:
    """Writes the same by the model's own cache and attention."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        self._model, self._end, self._pad = model, tokenizer.eos_token_id, tokenizer.pad_token_id

    def __call__(self, prompts: list[list[int]], each: int, processors: list, limit: int) -> list[list[int]]:
        """B prompts → B x `each` texts as tokens, without the end."""
        width, device = max(map(len, prompts)), self._model.device
        written = self._model.generate(
            input_ids=torch.tensor([[self._pad] * (width - len(p)) + p for p in prompts for _ in range(each)], device=device),
            attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts for _ in range(each)], device=device),
            max_new_tokens=limit,
            do_sample=False,
            num_beams=1,
            eos_token_id=self._end,
            pad_token_id=self._pad,
            logits_processor=LogitsProcessorList(processors),
        )[:, width:]
        return [row[: row.index(self._end)] if self._end in row else row for row in written.tolist()]
