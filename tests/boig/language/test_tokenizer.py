"""Numbers and names are single tokens, sequences are short, any text comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boig.language import prompts, tokenizer
from boig.language.examples import behavior, content, vocabulary_texts
from boig.language.model import load
from boig.verbalizer.palette import NAMES
from tests.boig.language.strategies import TEXTS, relaxed


@pytest.mark.parametrize("piece", [*tokenizer.DECIMALS, *tokenizer.INTEGERS, *NAMES, *tokenizer.SKELETON])
def test_one_token(words, piece):
    assert len(words(piece)["input_ids"]) == 1


@relaxed
@given(st.one_of(TEXTS, st.binary(max_size=30).map(lambda b: b.decode("latin-1"))))
def test_any_text_comes_back(words, text):
    ids = words(text.replace("<|", "< |"))["input_ids"]
    assert words.decode(ids, clean_up_tokenization_spaces=False) == text.replace("<|", "< |")


def test_sequences_are_short(words, posts):
    texts = [make(e) for e in posts for make in (content, behavior)]
    lengths = sorted(len(words(prompts.for_model(t.prompt, words) + t.answer)["input_ids"]) for t in texts)
    assert lengths[len(lengths) // 2] <= 90
    assert lengths[int(len(lengths) * 0.95)] <= 110


def test_nothing_merges_between_prompt_and_answer(words, posts):
    for text in (make(e) for e in posts[:20] for make in (content, behavior)):
        prompt = prompts.for_model(text.prompt, words)
        assert words(prompt)["input_ids"] + words(text.answer)["input_ids"] == words(prompt + text.answer)["input_ids"]


def test_equal_texts_give_equal_bytes(posts, words, tmp_path):
    words.save_pretrained(tmp_path / "a")
    tokenizer.train(vocabulary_texts(posts), 1024).save_pretrained(tmp_path / "b")
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()


def test_saved_and_loaded(words, untrained, tmp_path):
    words.save_pretrained(tmp_path)
    untrained.save_pretrained(tmp_path)
    _, again = load(tmp_path)
    assert again("0.43 Dark_Blue shoe")["input_ids"] == words("0.43 Dark_Blue shoe")["input_ids"]
    assert (again.pad_token, again.eos_token) == (tokenizer.PAD, tokenizer.END)


def test_number_tokens(words):
    families = tokenizer.number_tokens(words)
    assert [len(tokens) for tokens in families.values()] == [101, 101]
    token, value = families["decimal"][43]
    assert (words.decode([token]), value) == ("0.43", 0.43)


def test_too_small_a_vocabulary():
    with pytest.raises(ValueError, match="vocab_size is 300"):
        tokenizer.train(["a cup"], 300)
