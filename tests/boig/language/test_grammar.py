"""The grammar takes the form and nothing else, and its length bound holds."""

import json
import re

import numpy as np
import pytest
import torch
import xgrammar
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from boig.language import grammar
from boig.verbalizer.form import MAX_COLORS, MAX_OBJECTS, ColorShare, ObjectBox, Verbalization
from boig.verbalizer.palette import NAMES
from tests.boig.language.strategies import relaxed, verbalizations

GOOD = Verbalization((ColorShare("Red", 0.43),), (0.5, 0.3, 0.2), (ObjectBox("cup", (0.25, 0.25, 0.75, 1.0)),), "a red cup").to_json()


@pytest.fixture(scope="module")
def accepts(words):
    compiled = grammar.compile_grammar(words, len(words))

    def check(text: str) -> bool:
        matcher = xgrammar.GrammarMatcher(compiled)
        return matcher.accept_string(text) and matcher.accept_token(words.eos_token_id)

    return check


@relaxed
@given(verbalizations())
def test_the_form_is_in_the_grammar_and_within_the_limit(accepts, verbalization):
    text = verbalization.to_json()
    assert accepts(text)
    assert len(text.encode()) + 1 <= grammar.longest()


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", GOOD[:-1], GOOD + " ", GOOD.replace("Red", "red"), GOOD.replace("0.43", "0.4"), GOOD.replace("0.43", "1.43"),
        GOOD.replace(":", ": "), GOOD.replace("0.75,1.00", "0.75"), GOOD.replace("a red cup", 'a "red" cup'),
        GOOD.replace("a red cup", "a\\ncup"), GOOD.replace("cup", "c\u00fcp", 1),
        GOOD.replace('"name":"Red","coverage":0.43', ""), GOOD.replace("a red cup", "x" * (grammar.CAPTION_CHARS + 1)),
    ],
)  # fmt: skip
def test_everything_else_is_not(accepts, text):
    assert not accepts(text)


def test_the_longest_is_reached():
    name, label = max(NAMES, key=len), "x" * grammar.LABEL_CHARS
    colors, objects = (ColorShare(name, 0.2),) * MAX_COLORS, (ObjectBox(label, (0.0, 0.0, 1.0, 1.0)),) * MAX_OBJECTS
    full = Verbalization(colors, (0.3, 0.3, 0.4), objects, "😀" * grammar.CAPTION_CHARS)
    spare = grammar.longest() - 1 - len(full.to_json().encode())
    assert 0 <= spare <= 2  # the two commas that a list does not need


def test_labels_from_a_list(words):
    compiled = grammar.compile_grammar(words, len(words), ("cup", "paper cup"))
    for label, right in (("cup", True), ("paper cup", True), ("paper", False), ("cups", False), ("", False)):
        assert xgrammar.GrammarMatcher(compiled).accept_string(GOOD.replace('"cup"', json.dumps(label))) == right


def test_a_label_that_json_escapes():
    with pytest.raises(ValueError, match="printable ASCII"):
        grammar.ebnf(('a "cup"',))


@pytest.mark.parametrize("lacking", ["{", "0", "_", "b"])
def test_a_tokenizer_that_cannot_spell_a_description(lacking):
    alphabet = [c for c in map(chr, range(32, 127)) if c != lacking]
    vocabulary = {piece: i for i, piece in enumerate(["<end>", *alphabet])}
    spelled = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(vocabulary, [])), eos_token="<end>")
    with pytest.raises(ValueError, match=f"no token for {re.escape(repr(lacking))} alone"):
        grammar.compile_grammar(spelled, len(vocabulary))


def test_a_tokenizer_without_an_end():
    with pytest.raises(ValueError, match="no end token"):
        grammar.compile_grammar(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE({"a": 0}, []))), 1)


@relaxed
@given(verbalizations(), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_an_allowed_favorite_stays_the_favorite(words, verbalization, seed, share):
    """Any logits after any part of a valid output: the mask changes the choice only where the choice is not allowed."""
    tokens = [*words(verbalization.to_json(), add_special_tokens=False)["input_ids"], words.eos_token_id]
    compiled, generator = grammar.compile_grammar(words, len(words)), torch.Generator().manual_seed(seed)
    constrain, free = grammar.Constrain(compiled, words, 1), xgrammar.GrammarMatcher(compiled)
    stop = round(share * (len(tokens) - 1))
    for position in range(stop + 1):
        logits = torch.randn(1, len(words), generator=generator)
        logits[0, tokens[position]] += 20.0 * (position % 2)  # every other favorite is surely allowed
        masked = constrain(torch.tensor([[0, *tokens[:position]]]), logits)
        favorite = int(logits.argmax())
        allowed = free.fork().accept_token(favorite) if favorite not in _never(words) else False
        assert (int(masked.argmax()) == favorite) == allowed
        assert free.accept_token(tokens[position])


def _never(words) -> set[int]:
    return {token for token in words.all_special_ids if token != words.eos_token_id}


def test_a_draw_needs_a_temperature():
    with pytest.raises(ValueError, match="temperature"):
        grammar.Draw([1], 0.0, 5)


@relaxed
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 2.0]))
def test_draws_have_the_probabilities_of_the_softmax(seed, temperature):
    """Ten tokens, three of them ruled out: 4,000 rows, each with a seed of its own."""
    rng, rows = np.random.default_rng(seed), 4000
    logits = torch.from_numpy(rng.normal(0, 2, 10)).float()
    logits[torch.from_numpy(rng.permutation(10)[:3])] = -torch.inf
    draw = grammar.Draw(rng.integers(2**62, size=rows).tolist(), temperature, 2)
    tokens = torch.zeros(rows, 1, dtype=torch.long)
    for _ in range(2):
        drawn = draw(tokens, logits.expand(rows, -1)).argmax(dim=-1)
        shares = torch.bincount(drawn, minlength=10) / rows
        assert shares.numpy() == pytest.approx(torch.softmax(logits.double() / temperature, 0).numpy(), abs=5 * 0.5 / rows**0.5)
        assert (shares[logits.isinf()] == 0).all()


@pytest.mark.parametrize("allowed", [0, 4, 9])
def test_a_draw_from_one_token_is_that_token(allowed):
    logits = torch.full((50, 10), -torch.inf)
    logits[:, allowed] = -3.0
    assert (grammar.Draw(list(range(50)), 1.0, 1)(torch.zeros(50, 1, dtype=torch.long), logits).argmax(-1) == allowed).all()
