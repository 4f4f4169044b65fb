"""Prompts to tokens: what all begin with is computed once and changes nothing; what has no room is refused."""

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from boig.language import decoding, describe, model
from boig.language.describe import Shot
from tests.boig.language.qwen import save


@pytest.fixture(scope="module")
def chatty(posts, tmp_path_factory):
    """A base with a chat template, and its tokenizer."""
    return model.load(save(tmp_path_factory.mktemp("chatty") / "base", posts))


def asked(posts, count: int):
    some = posts[:count]
    return [p.brief for p in some], [p.bucket for p in some], [p.kpi for p in some]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_prefix_changes_no_answer(chatty, posts, temperature, monkeypatch):
    shots = [Shot(p.brief, p.bucket, p.kpi, p.verbalization) for p in posts[50:52]]
    seen = []
    fill = decoding.prefill
    monkeypatch.setattr(describe, "prefill", lambda model, tokens: seen.append(len(tokens)) or fill(model, tokens))
    fast = describe.describe(*chatty, *asked(posts, 3), temperature=temperature, shots=shots, batch_size=2)
    monkeypatch.setattr(describe, "prefill", lambda model, tokens: None)
    assert describe.describe(*chatty, *asked(posts, 3), temperature=temperature, shots=shots, batch_size=2) == fast
    rows = describe.prompt_tokens(*chatty, *asked(posts, 3), shots=shots)
    assert seen == [decoding.shared(rows)]
    assert seen[0] > 0.8 * min(map(len, rows))


def test_what_rows_share():
    head = list(range(40))
    assert decoding.shared([[*head, 1, 2], [*head, 1], [*head, 1, 3, 4]]) == 40
    assert decoding.shared([head, head]) == 39
    assert decoding.shared([head, [7, *head]]) == decoding.shared([[1], [1]]) == decoding.shared([]) == 0


def test_a_prompt_without_room_is_named_with_the_limit(words, posts):
    config = GPT2Config(vocab_size=len(words), n_embd=16, n_layer=1, n_head=2, n_positions=1400, bos_token_id=None)
    short = GPT2LMHeadModel(config).eval()
    assert describe.prompt_tokens(short, words, *asked(posts, 2))
    shots = [Shot(p.brief, p.bucket, p.kpi, p.verbalization) for p in posts[50:55]]
    with pytest.raises(ValueError, match=f"post '{posts[0].brief.post_id}': .* the model reads 1400; use fewer decoding.shots"):
        describe.describe(short, words, *asked(posts, 2), shots=shots)


def test_a_base_that_says_nothing_of_its_context_has_room(untrained):
    assert model.context(untrained) == model.MAX_POSITIONS
    assert model.context(_Boundless) > 10**9


class _Boundless:
    """A model whose configuration names no positions."""

    class config:
        @staticmethod
        def get_text_config():
            return object()
