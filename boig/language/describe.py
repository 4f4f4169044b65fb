"""Content simulation: briefs and a wanted KPI → what the picture should show, as valid verbalizations only."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from boig.brief import Brief
from boig.language.decoding import generate, tokenize
from boig.language.grammar import compile_grammar, longest
from boig.language.model import context
from boig.language.odds import NameOdds, name_tokens
from boig.language.prompts import content_prompt, few_shot, for_model
from boig.verbalizer.form import MAX_COLORS, MAX_OBJECTS, ColorShare, Verbalization
from boig.verbalizer.palette import NAMES


@dataclass(frozen=True)
class Drawn:
    """What a model says of one brief, several times."""

    verbalizations: tuple[Verbalization, ...]
    odds: dict[str, float] | None
    """Probability that a description lists each color, see `boig.language.odds`; None where the tokenizer spells its names."""


@dataclass(frozen=True)
class Shot:
    """A worked example for a model that was not tuned."""

    brief: Brief
    bucket: str
    kpi: int
    verbalization: Verbalization


def describe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    briefs: Sequence[Brief],
    bucket: str | Sequence[str],
    kpi: int | Sequence[int],
    *,
    temperature: float = 0.0,
    seeds: Sequence[int] | None = None,
    batch_size: int = 64,
    max_new_tokens: int | None = None,
    labels: tuple[str, ...] = (),
    shots: Sequence[Shot] = (),
) -> list[Verbalization]:
    """One verbalization per brief: the most likely one token by token, or a draw.

    A result depends on its own brief, KPI and seed, not on the rest of the batch, up to the rounding of the matrix products.

    Args:
        model: BoigLLM or any causal language model.
        tokenizer: its tokenizer.
        briefs: posts without pictures.
        bucket: wanted bucket, one for all or one per brief.
        kpi: wanted KPI, integer 0–100, one for all or one per brief.
        temperature: 0 takes the most likely token at each step; above, draws from softmax(logits / temperature).
        seeds: one per brief, for draws; None derives them from each brief's post id and caption.
        batch_size: descriptions written together.
        max_new_tokens: limit per description; None takes the least that fits any description.
        labels: the only object labels allowed; empty allows any.
        shots: worked examples that go before each prompt.

    Raises:
        ValueError: lengths differ; `max_new_tokens` could cut a description short; a prompt and a description are more than
            the model reads.
    """
    buckets = [bucket] * len(briefs) if isinstance(bucket, str) else list(bucket)
    kpis = [kpi] * len(briefs) if isinstance(kpi, int) else list(kpi)
    seeds = [brief_seed(b) for b in briefs] if seeds is None else list(seeds)
    if not len(briefs) == len(buckets) == len(kpis) == len(seeds):
        counts = f"{len(briefs)} briefs with {len(buckets)} buckets, {len(kpis)} kpis and {len(seeds)} seeds"
        raise ValueError(f"{counts}; give one of each per brief")
    limit = _limit(max_new_tokens, labels)
    rows = prompt_tokens(model, tokenizer, briefs, buckets, kpis, shots=shots, limit=limit)
    return _described(model, tokenizer, rows, seeds, temperature, batch_size, limit, labels)[0]


def draw(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    briefs: Sequence[Brief],
    buckets: Sequence[str],
    kpis: Sequence[int],
    *,
    draws: int,
    temperature: float,
    batch_size: int,
    shots: Sequence[Shot] = (),
) -> list[Drawn]:
    """Several descriptions of each brief, for `boig.language.consensus`; arguments as in `describe`, with `draws` of each.

    Raises:
        ValueError: lengths differ; no temperature above 0; a prompt and a description are more than the model reads.
    """
    if temperature <= 0:
        raise ValueError(f"draws need a temperature above 0, got {temperature}; use describe for the most likely text")
    asked = prompt_tokens(model, tokenizer, briefs, buckets, kpis, shots=shots)
    seeds = [brief_seed(b, number) for b in briefs for number in range(draws)]
    shown, listed = _described(model, tokenizer, asked, seeds, temperature, batch_size, longest(), ())
    result = []
    for mine in (slice(start, start + draws) for start in range(0, len(shown), draws)):
        odds = None if listed is None else dict(zip(NAMES, listed[mine].mean(0).tolist(), strict=True))
        result.append(Drawn(tuple(shown[mine]), odds))
    return result


def prompt_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    briefs: Sequence[Brief],
    buckets: Sequence[str],
    kpis: Sequence[int],
    *,
    shots: Sequence[Shot] = (),
    limit: int | None = None,
) -> list[list[int]]:
    """The prompts as token ids, one list per brief; arguments as in `describe`, where `limit` is `max_new_tokens`.

    Worked examples are not dropped to make room: answers after fewer of them would be counted as answers after all.

    Raises:
        ValueError: lengths differ, or a prompt and a description are more than the model reads.
    """
    prompts = [_prompt(b, w, k, tokenizer, shots) for b, w, k in zip(briefs, buckets, kpis, strict=True)]
    rows, need, reads = tokenize(prompts, tokenizer), limit or longest(), context(model)
    for brief, row in zip(briefs, rows, strict=True):
        if len(row) + need > reads:
            told = (
                f"post {brief.post_id!r}: its prompt has {len(row)} tokens and a description may take {need}, but the model reads {reads}"
            )
            mend = "use fewer decoding.shots" if shots else "shorten the caption"
            raise ValueError(f"{told}; {mend}, or take a base that reads more")
    return rows


def _described(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: list[list[int]],
    seeds: list[int],
    temperature: float,
    batch_size: int,
    limit: int,
    labels: tuple[str, ...],
) -> tuple[list[Verbalization], torch.Tensor | None]:
    """N prompts as token ids, and as many seeds for each → verbalizations, and the odds of color names (·, 40) where names are tokens."""
    grammar = compile_grammar(tokenizer, model.get_output_embeddings().weight.shape[0], labels)
    names = name_tokens(tokenizer) if temperature > 0 else None
    texts, listed = generate(
        model,
        tokenizer,
        grammar,
        asked,
        seeds=seeds,
        temperature=temperature,
        limit=limit,
        batch_size=batch_size,
        watch=partial(NameOdds, names, temperature=temperature) if names else None,
    )
    return [tidy(Verbalization.from_json(text)) for text in texts], listed


def brief_seed(brief: Brief, draw: int = 0) -> int:
    """A seed of the brief alone: 63 bits of SHA-256 of post id, account, time, caption and draw number."""
    key = "\x1f".join((brief.post_id, brief.account, brief.created_at.isoformat(), brief.caption, str(draw)))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) >> 1


def tidy(verbalization: Verbalization) -> Verbalization:
    """The same content in canonical order: no color twice, largest first, boxes with positive sides, tones that sum to 1."""
    coverage: dict[str, float] = {}
    for color in verbalization.colors:
        coverage.setdefault(color.name, color.coverage)
    total = max(1.0, sum(coverage.values()))
    colors = [ColorShare(name, round(share / total, 2)) for name, share in coverage.items()]
    objects = [replace(o, box=_upright(o.box)) for o in verbalization.objects]
    return Verbalization(
        tuple(sorted(colors, key=lambda c: (-c.coverage, c.name))[:MAX_COLORS]),
        unit_tones(verbalization.tones),
        tuple(sorted(objects, key=lambda o: (-o.area, o.label, o.box))[:MAX_OBJECTS]),
        verbalization.caption,
    )


def unit_tones(tones: Sequence[float]) -> tuple[float, float, float]:
    """Shares scaled to sum 1 and rounded to hundredths that still sum to 1: the largest remainders are rounded up."""
    total = sum(tones)
    exact = [100 * t / total if total > 0 else 100 / 3 for t in tones]
    floors = [int(e + 1e-9) for e in exact]
    by_remainder = sorted(range(3), key=lambda i: (floors[i] - exact[i], i))
    for i in by_remainder[: 100 - sum(floors)]:
        floors[i] += 1
    warm, neutral, cool = (f / 100 for f in floors)
    return (warm, neutral, cool)


def _upright(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Corners in order, and at least a hundredth wide and high."""
    (x0, x1), (y0, y1) = sorted((box[0], box[2])), sorted((box[1], box[3]))
    x0, y0 = min(x0, 0.99), min(y0, 0.99)
    return (x0, y0, max(x1, round(x0 + 0.01, 2)), max(y1, round(y0 + 0.01, 2)))


def _limit(max_new_tokens: int | None, labels: tuple[str, ...]) -> int:
    need = longest(labels)
    if max_new_tokens is not None and max_new_tokens < need:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, but a description may take {need}; raise it (usual ones stop far earlier)")
    return max_new_tokens or need


def _prompt(brief: Brief, bucket: str, kpi: int, tokenizer: PreTrainedTokenizerBase, shots: Sequence[Shot]) -> str:
    asked = content_prompt(brief, bucket, kpi)
    if not shots:
        return for_model(asked, tokenizer)
    return few_shot([(content_prompt(s.brief, s.bucket, s.kpi), s.verbalization.to_json()) for s in shots], asked, tokenizer)
