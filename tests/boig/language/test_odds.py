"""The odds of color names are the mean of what counting would find."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from boig.language.consensus import consensus
from boig.language.describe import draw
from boig.language.odds import NameOdds, name_tokens
from boig.verbalizer.form import ColorShare, Verbalization
from boig.verbalizer.palette import NAMES


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(1, 3), st.sampled_from([0.5, 1.0, 2.0]))
def test_odds_are_what_many_draws_count(words, seed, listed, temperature):
    """A model whose logits depend on nothing but the number of names so far lists names; odds against counts."""
    tokens, rng, batch = name_tokens(words), np.random.default_rng(seed), 4000
    logits = torch.full((listed, len(words)), -torch.inf)
    logits[:, list(tokens.names)] = torch.from_numpy(rng.normal(0, 2, (listed, len(NAMES)))).float()
    odds, counted = NameOdds(tokens, batch, temperature), np.zeros((batch, len(NAMES)), bool)
    for number in range(listed):
        opening = torch.full((batch, 1), tokens.openings[number % len(tokens.openings)])
        scores = logits[number].expand(batch, -1)
        assert torch.equal(odds(opening, scores), scores)
        chance = torch.softmax(logits[number, list(tokens.names)].double() / temperature, 0).numpy()
        chosen = rng.choice(len(NAMES), size=batch, p=chance / chance.sum())
        counted[np.arange(batch), chosen] = True
        odds(torch.tensor(tokens.names)[chosen][:, None], torch.zeros(batch, len(words)))  # the coverage comes next: nothing to see
    found = odds.listed.mean(0).numpy()
    assert found == pytest.approx(counted.mean(0), abs=5 * 0.5 / batch**0.5)
    if listed == 1:
        assert odds.listed.std(0).numpy() == pytest.approx(np.zeros(len(NAMES)), abs=1e-12)


def test_draws_of_a_model(untrained, words, posts):
    briefs, buckets, kpis = zip(*((p.brief, p.bucket, p.kpi) for p in posts[:5]), strict=True)
    found = draw(untrained, words, briefs, buckets, kpis, draws=3, temperature=1.0, batch_size=4)
    assert [len(one.verbalizations) for one in found] == [3] * 5
    assert all(0 <= chance <= 1 + 1e-9 for one in found for chance in one.odds.values())
    again = draw(untrained, words, briefs[::-1], buckets[::-1], kpis[::-1], draws=3, temperature=1.0, batch_size=7)[::-1]
    assert [one.verbalizations for one in again] == [one.verbalizations for one in found]
    with pytest.raises(ValueError, match="temperature above 0"):
        draw(untrained, words, briefs, buckets, kpis, draws=3, temperature=0.0, batch_size=4)


def test_a_tokenizer_that_spells_names_has_no_odds(words):
    class Spelling:
        def __call__(self, texts, **_):
            return {"input_ids": [[1, 2] for _ in texts]}

        def get_vocab(self):
            return words.get_vocab()

    assert name_tokens(Spelling()) is None


def test_consensus_lists_the_likeliest_names():
    def shows(*names: str) -> Verbalization:
        return Verbalization(tuple(ColorShare(name, 0.4) for name in names), (0.5, 0.3, 0.2), (), "")

    draws = [shows("Red"), shows("Red", "Blue"), shows("Green")]
    odds = dict.fromkeys(NAMES, 0.0) | {"Green": 0.9, "Olive": 0.8, "Red": 0.1}
    found = consensus(draws, odds)
    assert found.colors[0] == ColorShare("Green", 0.36)
    assert {c.name for c in consensus(draws).colors} <= {"Red", "Blue", "Green"}
