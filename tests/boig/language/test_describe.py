"""Descriptions are always valid, and each depends on its own brief and seed alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, LogitsProcessorList

from boig.language.describe import Shot, brief_seed, describe, tidy, unit_tones
from boig.language.examples import content
from boig.language.grammar import Constrain, compile_grammar, longest
from boig.language.model import create
from boig.language.prompts import for_model
from boig.language.sft import dataset
from boig.verbalizer.form import Verbalization
from boig.verbalizer.palette import NAMES
from tests.boig.language.strategies import relaxed, verbalizations


def ask(model, words, posts, **options):
    return describe(model, words, [p.brief for p in posts], [p.bucket for p in posts], [p.kpi for p in posts], **options)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
def test_valid_from_a_model_that_knows_nothing(untrained, words, posts, temperature):
    for shown in ask(untrained, words, posts[:6], temperature=temperature, batch_size=4):
        assert Verbalization.from_json(shown.to_json()) == shown
        assert {c.name for c in shown.colors} <= set(NAMES)
        assert sum(shown.tones) == pytest.approx(1)


def test_valid_from_another_architecture(words, posts):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(words) + 7, n_embd=16, n_layer=1, n_head=2, n_positions=2048, bos_token_id=None)
    other = GPT2LMHeadModel(config).eval()
    assert len(ask(other, words, posts[:3], temperature=1.0)) == 3


def test_what_a_model_writes_by_itself_is_not_changed(words, posts):
    """A model that knows three posts by heart writes valid answers; with the grammar it writes them token by token."""
    fresh = create(words, hidden_size=64, layers=2, heads=4, feed_forward=96, seed=3).train()
    some = posts[:3]
    rows = list(dataset([content(p) for p in some], words, 512))
    adam = torch.optim.AdamW(fresh.parameters(), lr=3e-3)
    for _ in range(150):
        for row in rows:
            fresh(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss.backward()
        adam.step()
        adam.zero_grad()
    compiled = compile_grammar(words, len(words))
    for post in some:
        asked = words(for_model(content(post).prompt, words), return_tensors="pt")
        free, bound = (
            fresh.eval().generate(**asked, max_new_tokens=longest(), do_sample=False, logits_processor=LogitsProcessorList(processors))
            for processors in ([], [Constrain(compiled, words, 1)])
        )
        answer = words.decode(free[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        assert answer == post.verbalization.to_json(), "the model has not learnt its posts"
        assert torch.equal(free, bound)


def test_neither_order_nor_batch_matter(untrained, words, posts):
    some = posts[:7]
    together = ask(untrained, words, some, temperature=1.0)
    assert ask(untrained, words, some[::-1], temperature=1.0, batch_size=3) == together[::-1]
    assert ask(untrained, words, some[2:3], temperature=1.0) == together[2:3]


def test_seeds_decide_a_draw(untrained, words, posts):
    twice = [posts[0], posts[0], posts[0]]
    a, b, c = ask(untrained, words, twice, temperature=1.0, seeds=[1, 1, 2])
    assert a == b != c
    assert len(set(ask(untrained, words, twice, temperature=0.0))) == 1


def test_one_bucket_and_kpi_for_all_and_labels_from_a_list(untrained, words, posts):
    briefs = [p.brief for p in posts[:4]]
    shots = [Shot(briefs[0], "low", 3, posts[0].verbalization)]
    found = describe(untrained, words, briefs, "high", 90, temperature=1.0, labels=("cup", "shoe"), shots=shots)
    assert {o.label for v in found for o in v.objects} <= {"cup", "shoe"}


def test_no_briefs(untrained, words):
    assert describe(untrained, words, [], "high", 90) == []


def test_a_limit_that_could_cut_is_refused(untrained, words, posts):
    with pytest.raises(ValueError, match=f"max_new_tokens is 100, but a description may take {longest()}"):
        ask(untrained, words, posts[:1], max_new_tokens=100)


def test_lengths_must_agree(untrained, words, posts):
    with pytest.raises(ValueError, match="2 briefs with 1 buckets"):
        describe(untrained, words, [p.brief for p in posts[:2]], ["low"], [3, 4])


def test_a_briefs_seed(posts):
    seeds = {brief_seed(p.brief, draw) for p in posts for draw in range(3)}
    assert len(seeds) == 3 * len(posts)
    assert all(0 <= seed < 2**63 for seed in seeds)


@relaxed
@given(verbalizations())
def test_tidy_is_canonical(verbalization):
    clean = tidy(verbalization)
    names = [c.name for c in clean.colors]
    assert len(names) == len(set(names))
    assert [c.coverage for c in clean.colors] == sorted((c.coverage for c in clean.colors), reverse=True)
    assert [o.area for o in clean.objects] == sorted((o.area for o in clean.objects), reverse=True)
    assert sum(c.coverage for c in clean.colors) <= 1.03
    assert all(0 <= o.box[0] < o.box[2] <= 1 and 0 <= o.box[1] < o.box[3] <= 1 for o in clean.objects)
    assert Verbalization.from_json(clean.to_json()) == clean
    assert len(clean.objects) == len(verbalization.objects)


@relaxed
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_tones_sum_to_one_in_hundredths(tones):
    rounded = unit_tones(tones)
    assert sum(round(100 * t) for t in rounded) == 100
    if sum(tones) > 0:
        assert max(abs(r - t / sum(tones)) for r, t in zip(rounded, tones, strict=True)) <= 0.0101
