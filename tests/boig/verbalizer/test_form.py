"""The canonical text of a verbalization."""

import json

import pytest
from hypothesis import given

from boig.verbalizer.form import ColorShare, ObjectBox, Verbalization
from tests.boig.verbalizer.strategies import verbalizations

CUP = Verbalization(
    (ColorShare("Red", 0.6), ColorShare("White", 0.4)), (0.5, 0.3, 0.2), (ObjectBox("cup", (0.25, 0.25, 0.75, 0.75)),), "a cup"
)


@given(verbalizations())
def test_text_and_back_is_exact(said):
    assert Verbalization.from_json(said.to_json()) == said


@given(verbalizations())
def test_text_is_json_with_the_key_order_of_the_form(said):
    assert list(json.loads(said.to_json())) == ["colors", "tones", "objects", "caption"]


def test_the_text_of_an_example():
    assert CUP.to_json() == (
        '{"colors":[{"name":"Red","coverage":0.60},{"name":"White","coverage":0.40}],"tones":{"warm":0.50,"neutral":0.30,"cool":0.20},'
        '"objects":[{"label":"cup","box":[0.25,0.25,0.75,0.75]}],"caption":"a cup"}'
    )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"tones":{},"colors":[],"objects":[],"caption":""}', CUP.to_json().replace("0.75,0.75", "0.75"), CUP.to_json()[:-1]],
)
def test_another_text_is_refused(text):
    with pytest.raises(ValueError):
        Verbalization.from_json(text)
