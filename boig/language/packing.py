"""Training without padding: a batch is one row of all its texts, end to end, and logits are computed for answers alone.

Of texts of 55 to 105 tokens, sixteen at a time, padding is a fifth. TRL's collator lays them end to end (`padding_free`), but
means this for FlashAttention's kernels for texts of several lengths, which a CPU does not have; without them, the mask of a
whole row is square in its length. So only attention sees texts side by side: filled up on the right, where causal attention
needs no mask, since what is filled up comes after everything that is read. All else, and most of the work, sees no padding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from boig.language import beginnings
from boig.language.sharding import ShardingSFTTrainer
from boig.language.smoothing import IGNORED

_NAME = "boig_packed"

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(N, V) logits and (N,) token ids → (N,) nats."""


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    layout: beginnings.Layout | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each of S texts; an attention function of transformers.

    Args:
        module: the layer.
        query, key, value: (1, heads, N, D); key and value may have fewer heads.
        attention_mask: not looked at.
        cu_seq_lens_q: (S + 1,) where each text begins, and N.
        max_length_q: T, tokens of the longest text.
        layout: of a row in which common beginnings stand once; the two arguments before are then of its other texts.
        kwargs: of transformers' own function.

    Returns:
        (1, N, heads, D).
    """
    done: list[torch.Tensor] = []
    if layout is not None:
        segments = list(layout.segments)
        for count in layout.shared:
            lengths, segments = tuple(segments[: count + 1]), segments[count + 1 :]
            parts = [x.tensor_split([sum(lengths)], dim=2) for x in (query, key, value)]
            q, k, v = (first for first, _ in parts)
            query, key, value = (rest for _, rest in parts)
            done.append(beginnings.attend(module, q, k, v, lengths, **kwargs))
        if not segments:
            return torch.cat(done)[None], None
    starts, lengths = cu_seq_lens_q[:-1].long(), cu_seq_lens_q.diff()
    texts = torch.repeat_interleave(torch.arange(len(starts), device=query.device), lengths, output_size=query.shape[2])
    places = (
        torch.arange(query.shape[2], device=query.device) + (max_length_q * torch.arange(len(starts), device=query.device) - starts)[texts]
    )

    sides = (beginnings.side_by_side(x, places, len(starts), max_length_q) for x in (query, key, value))
    kwargs["is_causal"] = True
    out, _ = sdpa_attention_forward(module, *sides, None, **kwargs)  # (S, T, H, D)
    return torch.cat([*done, out.flatten(0, 1).index_select(0, places)])[None], None


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """While it lasts, the model attends with `attend`, and so reads rows of texts end to end only.

    A model with windows or other attention of its own keeps its own, for which transformers makes a mask from the positions:
    the same numbers, slower.
    """
    config, before = model.config, model.config._attn_implementation
    plain = before == "sdpa" and not getattr(config, "sliding_window", None)
    if plain:
        AttentionInterface.register(_NAME, attend)
        AttentionMaskInterface.register(_NAME, lambda *_, **__: None)
        model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        if plain:
            model.set_attn_implementation(before)


class AnswerTrainer(ShardingSFTTrainer):
    """TRL's trainer on rows of texts end to end, with logits and loss of the answers' tokens alone."""

    def __init__(self, *args, token_loss: Loss, **kwargs):
        super().__init__(*args, **kwargs)
        self._token_loss = token_loss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Mean nats per answer token; arguments as in the parent class."""
        inputs, labels = self._laid_out(model, dict(inputs))  # (N,); the first token of a text is never learnt
        before = (labels[1:] != IGNORED).nonzero()[:, 0]  # (A,): position t predicts token t + 1
        outputs = model(**inputs, use_cache=False, logits_to_keep=before)
        losses = self._token_loss(outputs.logits[0], labels[before + 1])
        if num_items_in_batch is None:
            loss = losses.mean()
        else:  # as Trainer.compute_loss: the count is over all ranks, whose gradients are averaged
            loss = losses.sum() / num_items_in_batch * (self.accelerator.num_processes if self.args.average_tokens_across_devices else 1)
        return (loss, outputs) if return_outputs else loss

    def _laid_out(self, model, inputs: dict) -> tuple[dict, torch.Tensor]:
        """Inputs and labels (N,), with common beginnings once where the model attends with `attend`."""
        labels = inputs.pop("labels")[0]
        if self.accelerator.unwrap_model(model).config._attn_implementation != _NAME:
            return inputs, labels
        layout = beginnings.layout(inputs["input_ids"][0], labels, inputs["cu_seq_lens_q"], IGNORED)
        if layout is None:
            return inputs, labels
        alone = layout.segments[len(layout.shared) + sum(layout.shared) :]
        starts = torch.tensor([0, *alone], device=labels.device).cumsum(0).int()
        rows = {name: inputs[name][:, layout.take] for name in ("input_ids", "position_ids")}
        lengths = {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts}
        longest = dict.fromkeys(("max_length_q", "max_length_k"), max(alone, default=0))
        return {**inputs, **rows, **lengths, **longest, "layout": layout}, labels[layout.take]


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(N, V) logits and (N,) token ids → (N,) nats."""
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
