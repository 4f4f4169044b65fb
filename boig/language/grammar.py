"""Constrained decoding: every finished output is a verbalization in canonical JSON, at any temperature, by any model.

The form of `boig.verbalizer.form` is a context-free grammar with every repetition bounded: at most five colors, four
objects, a label and a caption of limited length. So the longest output is known in bytes, and since a token holds at
least one byte, a limit of that many tokens plus the end token can never cut an output short: `longest` is that number,
and `boig.language.describe` refuses a lower limit before it starts. The length of an actual output is far below it.
What a grammar cannot say (largest first, no name twice, tones that sum to 1) `boig.language.describe` sets right afterwards.
"""

import json
import re

import torch
import xgrammar
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from boig.verbalizer.form import MAX_COLORS, MAX_OBJECTS
from boig.verbalizer.palette import NAMES

LABEL_CHARS = 40
CAPTION_CHARS = 160
_UTF8 = 4  # bytes of the longest character
_RULES = r"""
root ::= ‹{"colors":[› colors ‹],"tones":› tones ‹,"objects":[› objects ‹],"caption":"› caption ‹"}›
colors ::= color (‹,› color){0,COLORS}
color ::= ‹{"name":"› name ‹","coverage":› number ‹}›
name ::= NAMES
tones ::= ‹{"warm":› number ‹,"neutral":› number ‹,"cool":› number ‹}›
objects ::= "" | object (‹,› object){0,OBJECTS}
object ::= ‹{"label":"› label ‹","box":[› number ‹,› number ‹,› number ‹,› number ‹]}›
label ::= LABEL
caption ::= [^"\\\x00-\x1f\x7f]{0,CHARS}
number ::= "0." [0-9] [0-9] | "1.00"
"""  # ‹…› is literal text


def ebnf(labels: tuple[str, ...] = ()) -> str:
    """The grammar of a verbalization.

    Args:
        labels: the only object labels allowed; empty allows any of up to `LABEL_CHARS` printable ASCII characters.

    Raises:
        ValueError: a label that JSON would have to escape.
    """
    for label in labels:
        if not label or not all(" " <= c <= "~" and c not in '"\\' for c in label):
            raise ValueError(f"label {label!r} must be printable ASCII without quotes and backslashes to be in the grammar")
    terms = {
        "LABEL": " | ".join(f"‹{name}›" for name in labels) if labels else f"[ !#-\\[\\]-~]{{1,{LABEL_CHARS}}}",
        "NAMES": " | ".join(f"‹{name}›" for name in NAMES),
        "COLORS": str(MAX_COLORS - 1),
        "OBJECTS": str(MAX_OBJECTS - 1),
        "CHARS": str(CAPTION_CHARS),
    }
    rules = re.sub("|".join(terms), lambda found: terms[found.group()], _RULES)
    return re.sub("‹(.*?)›", lambda found: json.dumps(found.group(1)), rules)


def longest(labels: tuple[str, ...] = ()) -> int:
    """Tokens that hold the longest verbalization of the grammar and the end token, for any tokenizer."""
    color = len('{"name":"","coverage":0.00},') + max(map(len, NAMES))
    item = len('{"label":"","box":[0.00,0.00,0.00,0.00]},') + (max(map(len, labels)) if labels else LABEL_CHARS)
    frame = len('{"colors":[],"tones":{"warm":0.00,"neutral":0.00,"cool":0.00},"objects":[],"caption":""}')
    return frame + MAX_COLORS * color + MAX_OBJECTS * item + CAPTION_CHARS * _UTF8 + 1


def compile_grammar(tokenizer: PreTrainedTokenizerBase, vocab_size: int, labels: tuple[str, ...] = ()) -> xgrammar.CompiledGrammar:
    """The grammar for one tokenizer; seconds for a large vocabulary, so keep it.

    Args:
        tokenizer: any fast tokenizer.
        vocab_size: width of the model's logits, which may be padded beyond the tokenizer.
        labels: see `ebnf`.

    Raises:
        ValueError: the tokenizer has no end token, or cannot spell some character alone, so that an output could get stuck.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no end token, so that no description would end; set eos_token in its tokenizer_config.json")
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size, stop_token_ids=[tokenizer.eos_token_id])
    _check_spelling(info, set(tokenizer.all_special_ids), labels)
    return xgrammar.GrammarCompiler(info, max_threads=1).compile_grammar(ebnf(labels))


def _check_spelling(info: xgrammar.TokenizerInfo, special: set[int], labels: tuple[str, ...]) -> None:
    """See that from every place in the grammar some token leads on: each character that must come can be spelled alone."""
    tokens = {piece for i, piece in enumerate(info.decoded_vocab) if i not in special}
    must = sorted({*"".join(re.findall("‹(.*?)›", _RULES)), *"0123456789.", *"".join(NAMES + labels)})
    # A token may end within a character of several bytes: then any byte that continues one may have to come.
    bytes_too = any(_ends_within_a_character(piece) for piece in tokens)
    pieces = {repr(c): c.encode() for c in must} | {f"byte {b:#x}": bytes([b]) for b in range(0x80, 0xC0) if bytes_too}
    missing = [name for name, piece in pieces.items() if piece not in tokens]
    if missing:
        told = f"the tokenizer has no token for {missing[0]} alone" + (f" and {len(missing) - 1} more" if missing[1:] else "")
        raise ValueError(f"{told}, which a description may need; take a base whose tokenizer spells any byte")


def _ends_within_a_character(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return True
    return False


class Constrain(LogitsProcessor):
    """Sets the logits of all tokens that the grammar does not allow next to −inf. Serves one `generate` call.

    Special tokens other than the end are never allowed: their spelling would pass as caption text.
    """

    def __init__(self, grammar: xgrammar.CompiledGrammar, tokenizer: PreTrainedTokenizerBase, batch: int):
        self._matchers = [xgrammar.GrammarMatcher(grammar) for _ in range(batch)]
        self._many = xgrammar.BatchGrammarMatcher(max_threads=1)
        self._mask = xgrammar.allocate_token_bitmask(batch, grammar.tokenizer_info.vocab_size)  # (B, V/32) int32
        self._end = tokenizer.eos_token_id
        self._banned = [token for token in tokenizer.all_special_ids if token != self._end]
        self._first = True

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """(B, T) tokens so far and (B, V) logits → (B, V) masked logits."""
        if not self._first:
            running = [(m, t) for m, t in zip(self._matchers, input_ids[:, -1].tolist(), strict=True) if not m.is_terminated()]
            accepted = self._many.batch_accept_token([m for m, _ in running], [t for _, t in running]) if running else []
            assert all(accepted), "generate chose a token that the mask had ruled out"
        self._first = False
        open_rows = [i for i, m in enumerate(self._matchers) if not m.is_terminated()]
        if open_rows:
            self._many.batch_fill_next_token_bitmask([self._matchers[i] for i in open_rows], self._mask, open_rows)
        masked = scores.float().clone()
        xgrammar.apply_token_bitmask_inplace(masked, self._mask.to(masked.device), indices=open_rows)
        masked[:, self._banned] = -torch.inf
        return masked

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some rows, by their indices."""
        self._matchers = [self._matchers[row] for row in rows.tolist()]
        self._mask = self._mask[rows]


class Draw(LogitsProcessor):
    """Sampling that depends on a row's own seed, not on the batch it happens to be in. Serves one `generate` call.

    By inversion: a row's number between 0 and 1, one a step, falls into the share of one token of the cumulated
    probabilities. All other logits are set to −inf, so that the arg max that follows is an exact draw.
    """

    def __init__(self, seeds: list[int], temperature: float, limit: int):
        """Draw the numbers.

        Args:
            seeds: (B,) of the rows.
            temperature: draws are from softmax(logits / temperature).
            limit: steps at most.
        """
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0 to draw, got {temperature}; use 0 in describe for the most likely text")
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._numbers = torch.stack([torch.rand(limit, generator=g, dtype=torch.float64) for g in generators])  # (B, limit)
        self._temperature, self._step = temperature, 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """(B, V) masked logits → (B, V), −inf but for the drawn token."""
        cumulated = torch.softmax(scores.double() / self._temperature, dim=-1).cumsum(dim=-1)
        number = self._numbers[:, self._step, None].to(scores.device)
        self._step += 1
        # Below the total in floating point too: the last token of any probability is the last that can be drawn.
        below = torch.minimum(number * cumulated[:, -1:], torch.nextafter(cumulated[:, -1:], torch.zeros_like(number)))
        drawn = torch.searchsorted(cumulated, below, right=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn, 0.0)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some rows, by their indices."""
        self._numbers = self._numbers[rows]
