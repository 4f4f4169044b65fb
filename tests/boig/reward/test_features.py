from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boig.brief import Brief
from boig.reward.encoder import Numbers
from boig.reward.features import ContextSpace, PictureSpace, mismatch, named_labels
from boig.reward.settings import Features
from boig.verbalizer.form import ColorShare, ObjectBox, Verbalization

BRIEF = Brief("1", "acme", "food", datetime(2024, 3, 5, 14, 30, tzinfo=UTC), "Our cup and cake, now available.")
CUP = Verbalization(
    (ColorShare("Red", 0.43), ColorShare("White", 0.2)), (0.5, 0.3, 0.2), (ObjectBox("cup", (0.25, 0.25, 0.75, 0.75)),), "a red cup"
)


def test_mismatch_is_the_share_of_named_products_that_are_missing():
    labels = ("cup", "cake", "shoe")
    briefs = [BRIEF, replace(BRIEF, caption="Two cups!"), replace(BRIEF, caption="Hello"), replace(BRIEF, caption="A new shoe")]
    assert mismatch(briefs, [CUP] * 4, labels).tolist() == [0.5, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("caption", "named"), [("The cupboard", ()), ("CUP!", ("cup",)), ("two cups", ("cup",)), ("a coffee mug", ("coffee mug",)), ("", ())]
)
def test_labels_are_named_as_whole_words(caption: str, named: tuple[str, ...]):
    assert named_labels(caption, ("cup", "coffee mug")) == frozenset(named)


def test_a_picture_s_numbers_are_those_of_its_text():
    space = PictureSpace.fit([BRIEF] * 2, [CUP] * 2, 8, 8)
    row = space.encode([BRIEF], [CUP])[0]
    assert space.products == ("cup",)
    assert row[:40].sum() == pytest.approx(0.63)
    assert row[40:43].tolist() == pytest.approx([0.5, 0.3, 0.2])
    assert len(row) == space.size
    assert row[-1] == 0
    assert 0.25 in row  # area of the cup


def test_unknown_accounts_words_and_labels_have_no_column():
    space = ContextSpace.fit([BRIEF] * 2, 8)
    known, other = space.encode([BRIEF, replace(BRIEF, account="other", industry="else", caption="xyz")])
    assert len(known) == space.size
    assert known[:2].tolist() == [1, 1]
    assert other[:2].tolist() == [0, 0]
    stranger = replace(CUP, objects=(ObjectBox("zebra", (0, 0, 1, 1)),), colors=(ColorShare("No_Such_Color", 0.9),))
    assert np.isfinite(PictureSpace.fit([BRIEF] * 2, [CUP] * 2, 8, 8).encode([BRIEF], [stranger])).all()


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(0, 5))
def test_numbers_stay_bounded_for_any_picture(box: list[float], colors: int):
    numbers = Numbers.fit([BRIEF] * 3, [CUP] * 3, Features(max_labels=4, max_words=4))
    names = ("Red", "Blue", "Green", "Gold", "Pink")
    picture = Verbalization(tuple(ColorShare(n, 1.0) for n in names[:colors]), (0, 0, 1), (ObjectBox("cup", tuple(box)),), "")
    row = numbers.standardize(numbers.picture.encode([BRIEF], [picture]))
    assert np.abs(row).max() <= 4


def test_numbers_survive_json():
    numbers = Numbers.fit([BRIEF] * 3, [CUP] * 3, Features(max_labels=4, max_words=4))
    again = Numbers.from_dict(numbers.to_dict())
    assert again.picture == numbers.picture
    assert again.context == numbers.context
    assert np.array_equal(again.spread, numbers.spread)
