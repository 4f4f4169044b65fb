import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from boig.reward.mismatched import draw
from boig.verbalizer.form import ObjectBox, Verbalization

LABELS = st.lists(st.sampled_from(["cup", "cake", "phone", "text"]), max_size=3)


def _shown(labels: list[str]) -> Verbalization:
    return Verbalization((), (0.0, 1.0, 0.0), tuple(ObjectBox(name, (0.1, 0.1, 0.5, 0.5)) for name in labels), "")


def _products(labels: list[str]) -> list[str]:
    return [name for name in labels if name != "text"] or [""]


@settings(max_examples=100)
@given(st.lists(LABELS, max_size=25), st.integers(0, 99))
def test_every_post_with_a_stranger_gets_one(pictures: list[list[str]], seed: int):
    rows, partners = draw([_shown(p) for p in pictures], seed)
    for row, partner in zip(rows, partners, strict=True):
        assert _products(pictures[partner])[0] not in _products(pictures[row])
    mains = [_products(p)[0] for p in pictures]
    assert rows.tolist() == [i for i, p in enumerate(pictures) if any(m not in _products(p) for m in mains)]
    again = draw([_shown(p) for p in pictures], seed)
    assert np.array_equal(rows, again[0])
    assert np.array_equal(partners, again[1])


def test_another_seed_draws_other_pairs():
    pictures = [_shown([name]) for name in ("cup", "cake", "phone", "lamp") * 10]
    assert not np.array_equal(draw(pictures, 0)[1], draw(pictures, 1)[1])
