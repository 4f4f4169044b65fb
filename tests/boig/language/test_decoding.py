"""Prompts to tokens: what all begin with is computed once and changes nothing; what has no room is refused."""

from functools import partial

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


@pytest.mark.parametrize("draws", [1, 5])
@pytest.mark.parametrize("shots", [0, 2])
def test_a_cascade_writes_what_the_model_writes_by_itself(chatty, posts, draws, shots, monkeypatch):
    """Rows end at different times, and a batch holds prompts of different lengths."""
    shown = [Shot(p.brief, p.bucket, p.kpi, p.verbalization) for p in posts[50 : 50 + shots]]
    ask = partial(describe.draw, *chatty, *asked(posts, 6), draws=draws, temperature=1.0, batch_size=4 * draws, shots=shown)
    assert decoding.cascades(chatty[0])
    fast = ask()
    monkeypatch.setattr(decoding, "cascades", lambda model: False)
    assert ask() == fast


def test_a_windowed_model_writes_by_itself(posts, tmp_path):
    windowed = model.load(save(tmp_path / "base", posts, use_sliding_window=True, sliding_window=16, max_window_layers=0))
    assert not decoding.cascades(windowed[0])
    one, two = (describe.describe(*windowed, *asked(posts, 3), batch_size=size) for size in (1, 3))
    assert one == two


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
