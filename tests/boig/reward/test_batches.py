from hypothesis import given, settings
from hypothesis import strategies as st

from boig.reward.batches import LENGTH, fixed


@settings(max_examples=50)
@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 9))
def test_every_text_once_in_a_shape_of_its_own(lengths: list[int], rows: int):
    ids = [[i + 1] * n for i, n in enumerate(lengths)]
    seen = []
    for at, tokens, mask in fixed(ids, pad=0, rows=rows):
        assert tokens.shape == mask.shape
        assert len(tokens) == len(at) <= rows
        for row, i in enumerate(at):
            assert tokens[row, : lengths[i]].tolist() == ids[i]
            assert mask[row].sum() == lengths[i]
            assert tokens.shape[1] % LENGTH == 0
            assert 0 < tokens.shape[1] - lengths[i] <= LENGTH
        seen += at
    assert sorted(seen) == list(range(len(lengths)))
